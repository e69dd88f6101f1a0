"""Compare two cassettes: requests that only one has, requests that changed, and answers that differ.

A and B are names of cassettes, files, or two folders of cassettes. If A is a revision of git (HEAD~3, main), the
cassettes that B names, or all cassettes, are compared with their versions in that revision. The project's settings
(match_on, ignore) decide which requests are the same. Times are not compared. The exit code is 0 if both hold the same,
and 1 if they differ.

With a range of git (main...HEAD), the command shows what a branch has changed in cassettes, recording by recording,
with the words of prompts and answers that differ. --staged shows the staged changes in the same way. --markdown writes
the changes for a pull request; the exit code is then 0 unless --exit-code is given.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.answers.answer_text import status_of
from aquila.cassettes.answers.transcript import write_transcript
from aquila.cassettes.matching.body_lines import render_body
from aquila.cassettes.matching.difference import ABSENT, Difference, format_value
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import canonical_request, without_origin
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.storage.merging import recordings_by_slot
from aquila.cassettes.web_socket_frames.frame import frames_of
from aquila.cli import FAILED, FOUND, arguments, project
from aquila.cli.comparing import frame_differences, git_versions
from aquila.cli.comparing.compared_files import bases_of, choose_pairs
from aquila.cli.comparing.interaction_summary import readable_text_of
from aquila.cli.output import Output
from aquila.errors import ConfigError, reason_of
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.sessions.session_factory import match_rules_of, redactor_of, request_identifier
from aquila.review.alignment import pair_similar
from aquila.review.proposals import differences_of
from aquila.temporary_folders import TemporaryFolder

if TYPE_CHECKING:
    from aquila.cli.comparing import branch_diff, diff_markdown
else:
    lazy_modules(globals(), "aquila.cli.comparing: branch_diff, diff_markdown")

_WIDTH = 70


@dataclass(slots=True)
class CassetteComparison:
    """The differences between two cassettes. Interactions are given by their numbers, from 0."""

    same: int = 0
    answers: list[tuple[int, int]] = field(default_factory=list)
    requests: list[tuple[int, int, list[Difference]]] = field(default_factory=list)
    only_a: list[int] = field(default_factory=list)
    only_b: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.answers or self.requests or self.only_a or self.only_b)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    a = parser.add_argument(
        "a", metavar="A", nargs="?", help="a cassette, a file, a folder, a revision or range of git"
    )
    b = parser.add_argument("b", metavar="B", nargs="?", help="what A is compared with (default: all, for a revision)")
    for side in (a, b):
        arguments.complete_with(side, arguments.complete_cassettes)
    parser.add_argument("--staged", action="store_true", help="compare what is staged with the last commit")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write Markdown, for a pull request (default: to stdout)",
    )
    parser.add_argument("--exit-code", action="store_true", help="with --markdown: end with 1 if something differs")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Compare the cassettes and print how they differ."""
    with project.open_project(options) as here, TemporaryFolder("diff") as scratch:
        versions = _choose_versions(here, options)
        if versions is not None:
            return _compare_in_git(here, versions, options, output, Path(scratch))
        settings = runtime.current_settings()
        rules = match_rules_of(settings)
        clean = redactor_of(settings).redact_interaction
        pairs = choose_pairs(here, options.a, options.b, Path(scratch))
        differing = unreadable = 0
        results: list[dict[str, Any]] = []
        for pair in pairs:
            try:
                a, b = (
                    Cassette.from_interactions(map(clean, load().interactions)) for load in (pair.load_a, pair.load_b)
                )
                found = compare_cassettes(a, b, rules)
            except project.UNREADABLE as error:
                if len(pairs) == 1:
                    raise
                unreadable += 1
                output.print_problem(f"{pair.name} cannot be compared: {reason_of(error)}")
                results.append({"cassette": pair.name, "error": reason_of(error)})
                continue
            differing += bool(found)
            results.append({"cassette": pair.name, **_as_json(found)} if pair.name else _as_json(found))
            if len(pairs) > 1:
                if not found:
                    continue
                output.print_line(f"{pair.name}:")
            _print_comparison(found, a, b, rules, output)
        if len(pairs) > 1:
            output.print_line(f"{count_of(len(pairs) - unreadable, 'cassette')} compared, {differing} differ")
        output.print_json(results if len(pairs) > 1 else results[0])
    return FAILED if unreadable else FOUND if differing else 0


def _choose_versions(here: project.Project, options: argparse.Namespace) -> git_versions.Versions | None:
    """Return the two versions in git that the arguments mean, or None if they name cassettes.

    Raises ``ConfigError``.
    """
    base = bases_of(here)[0]
    if options.staged:
        if options.b is not None:
            raise ConfigError("--staged compares with the last commit; name at most one cassette")
        options.b = options.a
        return git_versions.staged_versions(base)
    if options.a is None and options.markdown not in (None, "-"):  # --markdown main...HEAD
        options.a, options.markdown = options.markdown, "-"
    if options.a is None:
        raise ConfigError("what shall be compared? Give two cassettes, a range of git such as main...HEAD, or --staged")
    versions = None if here.names_a_cassette(options.a) else git_versions.read_versions(base, options.a)
    if versions is None and (options.markdown or options.exit_code):
        raise ConfigError("--markdown and --exit-code are for a range of git, such as main...HEAD, and for --staged")
    return versions


def _compare_in_git(
    here: project.Project, versions: git_versions.Versions, options: argparse.Namespace, output: Output, scratch: Path
) -> int:
    found = branch_diff.compare_in_git(here, bases_of(here), versions, options.b, scratch)
    if options.b is not None and not found and not here.names_a_cassette(options.b):
        here.choose_files([options.b])  # raises if no cassette has this name
    if options.markdown is None:
        branch_diff.print_changes(found, versions, output)
    else:
        text = diff_markdown.write_markdown(found, versions.title)
        if options.markdown == "-" and not output.as_json:
            sys.stdout.write(text)
        elif options.markdown != "-":
            Path(options.markdown).write_text(text, encoding="utf-8")
            output.print_line(f"{options.markdown}: {count_of(len(found), 'cassette')}")
    output.print_json(branch_diff.as_json(found))
    if any(each.problem for each in found):
        return FAILED
    return FOUND if found and (options.markdown is None or options.exit_code) else 0


def compare_cassettes(a: Cassette, b: Cassette, rules: MatchRules) -> CassetteComparison:
    """Compare two cassettes by ``rules``.

    The n-th recording of a request in ``a`` is compared with the n-th in ``b``. A request that only ``b`` has is paired
    with the most similar request that only ``a`` has, if there is one.
    """
    found = CassetteComparison()
    slots_a, slots_b = _number_by_slot(a, rules), _number_by_slot(b, rules)
    for slot, number in slots_a.items():
        other = slots_b.get(slot)
        if other is None:
            found.only_a.append(number)
        elif _answer_of(a.interactions[number]) == _answer_of(b.interactions[other]):
            found.same += 1
        else:
            found.answers.append((number, other))
    found.only_b = [number for slot, number in slots_b.items() if slot not in slots_a]
    paired = pair_similar(a, found.only_a, b, found.only_b, rules)
    found.requests = [
        (one, other, differences_of(a.interactions[one], b.interactions[other], rules)) for other, one in paired.items()
    ]
    found.only_a = sorted({*found.only_a} - {*paired.values()})
    found.only_b = sorted({*found.only_b} - {*paired})
    return found


def _number_by_slot(cassette: Cassette, rules: MatchRules) -> dict[tuple[str, int], int]:
    identify = request_identifier(rules)

    def key_of(request: RecordedRequest) -> str:
        return identify(request) if rules.compares_origin else without_origin(identify(request))

    return {slot: number for number, slot in enumerate(recordings_by_slot(cassette, key_of))}


def _answer_of(interaction: Interaction) -> tuple[object, ...]:
    response = interaction.response
    return response.status, response.body, response.end, response.error


def _print_comparison(found: CassetteComparison, a: Cassette, b: Cassette, rules: MatchRules, output: Output) -> None:
    for one, other, differing in found.requests:
        output.print_line(f"request #{one + 1} of A is #{other + 1} of B, changed:")
        for difference in differing:
            before, now = (
                format_value(difference.recorded, difference.now, _WIDTH),
                format_value(difference.now, difference.recorded, _WIDTH),
            )
            output.print_line(f"  {difference.path}: {before} -> {now}")
        old, new = (canonical_request(side.request, rules) for side in (a.interactions[one], b.interactions[other]))
        _print_unified_diff(render_body(old), render_body(new), output)
    for one, other in found.answers:
        first, second = a.interactions[one], b.interactions[other]
        output.print_line(f"the answer to #{one + 1} of A differs from that to #{other + 1} of B:")
        if status_of(first) != status_of(second):
            output.print_line(f"  status: {status_of(first)} -> {status_of(second)}")
        texts = _lines_of(first), _lines_of(second)
        if texts[0] == texts[1]:
            output.print_line(f"  {_describe_hidden(first, second)}")
        _print_unified_diff(*texts, output)
    for title, numbers, side in (("A", found.only_a, a), ("B", found.only_b, b)):
        for number in numbers:
            request = side.interactions[number].request
            output.print_line(f"only in {title}: #{number + 1} {request.method} {request.url}")
    if found:
        output.print_line()
    output.print_line(
        f"{count_of(found.same, 'interaction')} the same, {len(found.requests)} with a changed request, "
        f"{len(found.answers)} with another answer, {len(found.only_a)} only in A, {len(found.only_b)} only in B"
    )


def _describe_hidden(first: Interaction, second: Interaction) -> str:
    """Return a sentence about the difference of two answers with the same readable text."""
    one, other = frames_of(first), frames_of(second)
    if first.response.body == second.response.body:
        ends = [f"{each.response.end} {each.response.error}".rstrip() for each in (first, second)]
        return f"it ended in another way: {ends[0]} -> {ends[1]}"
    if one is not None and other is not None:
        return frame_differences.describe_hidden_differences(one, other)
    return f"its bytes differ ({len(first.response.body):,} -> {len(second.response.body):,})"


def _lines_of(interaction: Interaction) -> list[str]:
    said = frames_of(interaction)
    if said is not None:
        return list(write_transcript(said))
    return readable_text_of(interaction).split("\n")


def _print_unified_diff(one: Sequence[str], other: Sequence[str], output: Output) -> None:
    for line in list(difflib.unified_diff(one, other, lineterm="", n=2))[2:]:
        output.print_line(f"    {line}")


def _as_json(found: CassetteComparison) -> dict[str, Any]:
    return {
        "same": found.same,
        "requests": [
            {
                "a": one + 1,
                "b": other + 1,
                "differences": [
                    {"path": d.path, **({} if d.recorded is ABSENT else {"a": d.recorded})}
                    | ({} if d.now is ABSENT else {"b": d.now})
                    for d in differing
                ],
            }
            for one, other, differing in found.requests
        ],
        "answers": [{"a": one + 1, "b": other + 1} for one, other in found.answers],
        "only_a": [number + 1 for number in found.only_a],
        "only_b": [number + 1 for number in found.only_b],
    }
