"""Writes the changes of a branch in cassettes as Markdown, for a pull request.

All recorded text stands in ``<pre>`` or ``<code>`` with its HTML escaped, so a prompt can neither format the comment
nor mention anybody. Changes that exceed the length that GitHub accepts are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from aquila.cli.comparing.cassette_changes import ChangedCassette, count_changed_tokens, list_differences
from aquila.cli.output import escape_controls
from aquila.cli.reviewing.review_screen import fold_pieces
from aquila.plurals import count_of
from aquila.recording.secrets import outgoing
from aquila.review.proposals import Proposal
from aquila.review.views import WORDS, ProposalView
from aquila.run_report.word_diff import Change

LONGEST = 65_536
"""The longest comment that GitHub accepts, in characters (UTF-16 units)."""

_RESERVED = 400
_MOST_LISTED = 100
_MOST_FIELDS = 10
_LONGEST_NAME = 200
_TAGS = {"same": ("", ""), "removed": ("<del>", "</del>"), "added": ("<ins>", "</ins>")}


def write_markdown(found: list[ChangedCassette], title: str, longest: int = LONGEST) -> str:
    """Return the text of a comment of at most ``longest`` UTF-16 units. ``title`` names what was compared."""
    head = [f"### Cassettes: {_count_all(found)}", "", f"<p>{_code(title)}</p>", ""]
    head += [f"- {line}" for line in _list_cassettes(found)]
    text = "\n".join([*head, ""])
    left = 0
    for cassette in found:
        section = _write_cassette(cassette, longest - _measure(text) - _RESERVED)
        if section is None:
            left += 1
        else:
            text += section
    if left:
        text += f"\nThe changes in {count_of(left, 'cassette')} do not fit into a comment.\n"
    return text


def _measure(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _count_all(found: list[ChangedCassette]) -> str:
    if not found:
        return "nothing changed"
    before, after = count_changed_tokens(found)
    tokens = f", tokens {before:,} → {after:,}" if before != after else ""
    return f"{count_of(len(found), 'file')} changed{tokens}"


def _list_cassettes(found: list[ChangedCassette]) -> Iterator[str]:
    for cassette in found[:_MOST_LISTED]:
        renamed = f", was {_code(cassette.renamed_from)}" if cassette.renamed_from else ""
        said = f"cannot be read: {_code(cassette.problem)}" if cassette.problem else cassette.count_kinds()
        yield f"{_code(cassette.name)}{renamed}: {said}"
    if len(found) > _MOST_LISTED:
        yield f"and {count_of(len(found) - _MOST_LISTED, 'more cassette')}"


def _write_cassette(cassette: ChangedCassette, room: int) -> str | None:
    """Return the section of a cassette, with as many changes as fit into ``room`` UTF-16 units; None if none fits."""
    begin = f"\n<details><summary>{_code(cassette.name)}: {cassette.count_kinds()}</summary>\n\n"
    end = "\n</details>\n"
    shown = cassette.differing
    if not shown:
        return ""
    section, written = begin, 0
    for proposal, view in shown:
        block = _write_change(proposal, view)
        if _measure(section) + _measure(block) + len(end) + 60 > room:
            break
        section += block
        written += 1
    if not written:
        return None
    if written < len(shown):
        section += f"\n<p>and {count_of(len(shown) - written, 'more change')}</p>\n"
    return section + end


def _write_change(proposal: Proposal, view: ProposalView) -> str:
    lines = [f"<p><b>{WORDS[proposal.kind][0]}</b> number {proposal.number}, {_code(view.request)}</p>"]
    differences = list(list_differences(view))
    lines += [f"<p>{_code(name)}</p>\n\n<pre>{_words(pieces)}</pre>" for name, pieces in differences[:_MOST_FIELDS]]
    if len(differences) > _MOST_FIELDS:
        lines.append(f"<p>and {count_of(len(differences) - _MOST_FIELDS, 'more difference')}</p>")
    return "\n\n".join(lines) + "\n\n"


def _words(pieces: list[Change]) -> str:
    return "".join(f"{_TAGS[kind][0]}{_escape(_clean(text))}{_TAGS[kind][1]}" for kind, text in fold_pieces(pieces))


def _clean(text: str) -> str:
    """Remove secrets, and what UTF-8 cannot encode."""
    return outgoing.redact_outgoing(text).encode("utf-8", "replace").decode()


def _escape(text: str) -> str:
    """Escape HTML and invisible characters; line ends stay."""
    return "\n".join(escape(escape_controls(line)) for line in text.split("\n"))


def _code(text: str) -> str:
    clean = " ".join(_clean(text).split())  # cut below, because a part of a secret would not be recognized
    return f"<code>{_escape(clean if len(clean) <= _LONGEST_NAME else f'{clean[:_LONGEST_NAME]}…')}</code>"
