"""The proposals of a pending file: one question for each recording of the cassette that would change."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from aquila.cassettes.matching.cures import find_fresh_fields
from aquila.cassettes.matching.difference import Difference, find_differences, identify_change
from aquila.cassettes.matching.json_path import with_any_index
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import canonical_request, without_origin
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.web_socket_frames.frame import Close, Frame, frames_of
from aquila.recording.storing.journal_merging import stored_key
from aquila.review.alignment import Row, align_recordings, digest_interaction
from aquila.review.given_ids import find_chains, find_renamed
from aquila.verifying.answers import read_answer_text, read_values

ProposalKind: TypeAlias = Literal["new", "prompt", "answer", "details", "gone"]
"""A request that the cassette lacks; a changed request; another answer to the same request; only times, ids, token
counts or header fields differ; a recording that would vanish."""

KINDS: tuple[ProposalKind, ...] = ("new", "prompt", "answer", "details", "gone")

_NEW_EACH_TIME = re.compile(
    r"(?:^|_)(?:ids?|created|at|fingerprint|timestamp|duration|obfuscation|usage|sequence_number)$|Id$"
    r"|^(?:usageMetadata|createTime|avgLogprobs|latencyMs|timings)$"
)
"""Names of fields with values that differ even between two equal answers."""
_WRITTEN_FREELY = re.compile(r"\.(?:args|arguments|function(?:_r|R)esponses\[\*\]\.response)(?:[.\[]|$)")
"""Paths of objects that a model or a tool wrote, in which a field of any name counts."""
_REPEATED_BY_EVENTS = re.compile(r"\.(?:model|object|type|role|service_tier|provider|name|status)$")
"""Fields that each event of a stream repeats, so the number of repetitions does not count."""
_DEEPEST = 40


@dataclass(frozen=True, slots=True)
class Proposal:
    """One recording that would change. ``was`` is None if it is new, ``now`` if it would vanish.

    ``id`` is a digest of both, so it changes when either does. ``group`` is equal for recordings with the same
    difference. ``row`` has their numbers, from 0. ``chain`` is equal for recordings of one conversation, whose requests
    name ids from each other's answers; it is empty if no other proposal belongs to the conversation.
    """

    id: str
    kind: ProposalKind
    group: str
    row: Row
    was: Interaction | None
    now: Interaction | None
    chain: str = ""

    @property
    def number(self) -> int:
        """The number, from 1, of the recording in the pending file, else in the cassette."""
        place = self.row.now if self.row.now is not None else self.row.was
        return (place or 0) + 1

    @property
    def shown(self) -> Interaction:
        """The recording after the change, or before it if it would vanish."""
        both = [each for each in (self.now, self.was) if each is not None]
        return both[0]


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions of a cassette: the matched recordings, and the proposals in order."""

    rows: tuple[Row, ...]
    proposals: tuple[Proposal, ...]


def comparison_key(rules: MatchRules, keep_headers: tuple[str, ...]) -> Callable[[RecordedRequest], str]:
    """Return the function that gives equal requests of two versions one key, whatever the host if rules say so."""
    key_of = stored_key(rules, keep_headers)
    return key_of if rules.compares_origin else lambda request: without_origin(key_of(request))


def compare_versions(
    stored: Cassette, pending: Cassette, key_of: Callable[[RecordedRequest], str], rules: MatchRules, *, name: str = ""
) -> VersionComparison:
    """Return the proposals of ``pending`` for ``stored``. ``name``, the cassette's, makes ids and groups unique.

    A recording that would vanish stands at its place in the cassette. Those of the kind ``details`` come last.
    """
    rows = align_recordings(stored, pending, key_of, rules)
    renamed = find_renamed(rows, stored, pending, key_of)
    found: list[Proposal] = []
    seen: dict[str, int] = {}
    for row in _in_order(rows):
        was = stored.interactions[row.was] if row.was is not None else None
        now = pending.interactions[row.now] if row.now is not None else None
        digests = [digest_interaction(each) if each is not None else "" for each in (was, now)]
        if digests[0] == digests[1]:
            continue
        kind = classify_change(was, now, same_request=row.same_request or row in renamed)
        base = hashlib.sha256("\n".join([name, kind, *digests]).encode()).hexdigest()[:16]
        seen[base] = seen.get(base, 0) + 1
        own = base if seen[base] == 1 else f"{base}-{seen[base]}"
        group = hashlib.sha256(f"{kind}\n{_difference_of(kind, was, now, rules, name)}".encode()).hexdigest()[:16]
        found.append(Proposal(own, kind, group, row, was, now))
    if len(found) > 1:
        found = _with_chains(found, rows, find_chains(rows, stored, pending), name)
    found.sort(key=lambda one: one.kind == "details")
    return VersionComparison(tuple(rows), tuple(found))


def _with_chains(found: list[Proposal], rows: list[Row], chains: list[int], name: str) -> list[Proposal]:
    chain_of = {id(row): chain for row, chain in zip(rows, chains, strict=True)}
    counts = Counter(chain_of[id(each.row)] for each in found)
    names = {
        chain: hashlib.sha256(f"{name}\nconversation {chain}".encode()).hexdigest()[:16]
        for chain, count in counts.items()
        if count > 1
    }
    return [replace(each, chain=names.get(chain_of[id(each.row)], "")) for each in found]


def _in_order(rows: list[Row]) -> list[Row]:
    """Return the rows in the order of the pending file, with those that only the cassette has at their places there."""
    ordered = [row for row in rows if row.now is not None]
    place_of: dict[int | None, int] = {row.was: place for place, row in enumerate(ordered)}
    gone: dict[int, list[Row]] = {}
    before = -1
    for row in sorted((row for row in rows if row.was is not None), key=lambda row: row.was or 0):
        if row.now is None:
            gone.setdefault(before, []).append(row)
        else:
            before = place_of[row.was]
    result = gone.get(-1, [])[:]
    for place, row in enumerate(ordered):
        result += [row, *gone.get(place, ())]
    return result


def classify_change(was: Interaction | None, now: Interaction | None, *, same_request: bool = True) -> ProposalKind:
    """Return the kind of a change. ``same_request``: both requests ask the same, under ids of their own."""
    if was is None:
        return "new"
    if now is None:
        return "gone"
    if not same_request or _client_said(was) != _client_said(now):
        return "prompt"
    one, other = was.response, now.response
    if (one.status, one.end, one.error) != (other.status, other.end, other.error):
        return "answer"
    return "details" if says_the_same(was, now) else "answer"


def says_the_same(one: Interaction, other: Interaction) -> bool:
    """Return whether two answers differ at most in times, ids and token counts, and in how they are cut into chunks."""
    if (frames := (frames_of(one), frames_of(other))) != (None, None):
        said = [None if each is None else _leaves_of(_values_said(each, by_client=False)) for each in frames]
        return said[0] is not None and said[0] == said[1]
    one_body, other_body = one.response.body, other.response.body
    if one_body == other_body:
        return True
    (form, values), (other_form, others) = read_values(one_body), read_values(other_body)
    if form != other_form or form == "bytes":
        return False
    return read_answer_text(one_body) == read_answer_text(other_body) and _leaves_of(values) == _leaves_of(others)


def answer_fields(interaction: Interaction) -> dict[str, str]:
    """Return the fields of an answer by their paths, without those that differ even between equal answers."""
    frames = frames_of(interaction)
    if frames is not None:
        values = list(_values_said(frames, by_client=False))
    else:
        values = read_values(interaction.response.body)[1]
    return {path.lstrip("."): text for path, text in _leaves_of(values).items()}


def _client_said(interaction: Interaction) -> object:
    frames = frames_of(interaction)
    return None if frames is None else _leaves_of(_values_said(frames, by_client=True))


def _values_said(frames: list[Frame | Close], *, by_client: bool) -> Iterator[Any]:
    """Yield the messages of one side. How a conversation was closed, by either side, belongs to the answer."""
    for each in frames:
        if isinstance(each, Close):
            if not by_client:
                yield {"close": {"by": each.by, "code": each.code, "reason": each.reason}}
        elif each.sent == by_client:
            try:
                yield json.loads(each.data)
            except (ValueError, RecursionError):
                yield each.data.hex()


def _leaves_of(values: Any) -> dict[str, str]:
    """Return the texts, numbers and truth values in JSON values by their paths; all values of one path are joined."""
    found: dict[str, list[str]] = {}

    def walk(value: Any, path: str, depth: int) -> None:
        if isinstance(value, dict) and depth < _DEEPEST:
            for key, inner in value.items():
                if not _NEW_EACH_TIME.search(key) or _WRITTEN_FREELY.search(path):
                    walk(inner, f"{path}.{key}", depth + 1)
        elif isinstance(value, list) and depth < _DEEPEST:
            for inner in value:
                walk(inner, f"{path}[*]", depth + 1)
        elif isinstance(value, str):
            found.setdefault(path, []).append(value)
        elif value is not None:
            # Each event of a stream repeats numbers such as the index of its choice, so repetitions are dropped.
            known = found.setdefault(f"{path} (number)", [])
            text = f"{json.dumps(value, default=str)} "
            if not known or known[-1] != text:
                known.append(text)

    for value in values:
        walk(value, "", 0)
    return {
        path: "".join(dict.fromkeys(parts) if _REPEATED_BY_EVENTS.search(path) else parts)
        for path, parts in found.items()
    }


def _difference_of(
    kind: ProposalKind, was: Interaction | None, now: Interaction | None, rules: MatchRules, name: str
) -> str:
    """Return a text that is equal for recordings with the same difference. It is only hashed, never shown."""
    if was is None or now is None:
        return name  # what is new in one cassette, or gone from it, belongs together
    if kind == "details":
        return ""
    if kind == "prompt":
        found = list(differences_of(was, now, rules))
        fresh = find_fresh_fields(found)
        each = [
            (with_any_index(one.path), field.kinds if field is not None else identify_change([one]))
            for one, field in zip(found, fresh, strict=True)
        ]
        return json.dumps(each) if each else json.dumps([name, str(_client_said(now))])
    return identify_change([Difference("answer", _what_is_said(was), _what_is_said(now))])


def differences_of(was: Interaction, now: Interaction, rules: MatchRules) -> list[Difference]:
    """Return the differences of two requests in the parts that ``rules`` compare."""
    rules = rules.with_origin() if rules.compares_origin else rules
    return find_differences(canonical_request(was.request, rules), canonical_request(now.request, rules))


def _what_is_said(interaction: Interaction) -> str:
    response = interaction.response
    said = read_answer_text(response.body)
    return json.dumps([response.status, response.end, response.error, said.calls, said.finish]) + f"\n{said.text}"
