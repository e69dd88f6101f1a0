"""Review recordings that wait beside their cassettes, one after another: accept, reject, or skip each.

Run pytest --aquila-record=pending first; recordings of failing tests wait too. Each recording that is new, changed or
would be removed is a question. It shows the words of prompt and answer that differ. Each decision is stored at once, so
a review that was interrupted can be continued. Cassettes are written only when you say so.

CASSETTE is a name or a pattern. Without a terminal, and with --list, the questions are listed. --accept and --reject
decide without asking. They take the name of a cassette, and a number or an id as --list shows them: jobs/summary:2.
With the name alone they decide all questions of the cassette. Recordings that would be removed are left out unless
--kind gone is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.names import name_of_file
from aquila.cli import FAILED, FOUND, arguments, project
from aquila.cli.output import Output, print_error, shorten_path
from aquila.cli.progress import track_progress
from aquila.cli.reviewing import review_keys, review_loop, review_screen, unrecorded_tests_text
from aquila.cli.tables import Column
from aquila.errors import CassetteError, ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional
from aquila.plurals import count_of, number_of
from aquila.recording import runtime
from aquila.recording.reporting.unrecorded_tests import UnrecordedTest
from aquila.recording.sessions.session_factory import match_rules_of, redactor_of
from aquila.review.applying import take_back
from aquila.review.kept_decisions import Choice, hold_reviews
from aquila.review.proposals import KINDS, ProposalKind, comparison_key
from aquila.review.reviewing import Item, Outcome, Review, choose_proposals
from aquila.review.tested_by import TestPlace, find_tests
from aquila.review.views import ProposalView, view_proposal
from aquila.server.review_page import contents
from aquila.spelling import suggest_name

if TYPE_CHECKING:
    from aquila.server import admission, background_server
    from aquila.server.review_page import review_application
else:
    lazy_modules(
        globals(),
        "aquila.server: admission, background_server",
        "aquila.server.review_page: review_application",
    )

_COLUMNS = (Column("CASSETTE"), Column("#"), Column("ID"), Column("KIND"), Column("DIFFERENCE", "end", 20))
# ``--accept`` and ``--reject`` decide such questions only with ``--kind gone``, because a recording would be removed.
_ONLY_EXPLICITLY: ProposalKind = "gone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    names = parser.add_argument("names", nargs="*", metavar="CASSETTE", help="which cassettes (default: all)")
    arguments.complete_with(names, arguments.complete_pending)
    parser.add_argument("--list", action="store_true", help="list the questions; the exit code is 1 if there are any")
    for choice in ("accept", "reject"):
        decided = parser.add_argument(
            f"--{choice}",
            action="append",
            default=[],
            metavar="CASSETTE[:NUMBER]",
            help=f"{choice} without asking; can be given several times",
        )
        arguments.complete_with(decided, arguments.complete_pending)
    parser.add_argument(
        "--kind", action="append", default=[], choices=KINDS, help="only such questions; can be given several times"
    )
    parser.add_argument("--web", action="store_true", help="ask on a page of the browser, on this machine only")
    parser.add_argument("--port", type=int, default=0, help="the port of that page (default: any)")
    parser.add_argument("--undo", action="store_true", help="put back what the last review has written")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Review what waits."""
    given = {
        "--undo": options.undo,
        "--accept and --reject": options.accept or options.reject,
        "--web": options.web,
        "--list": options.list,
    }
    if len(asked := [name for name, value in given.items() if value]) > 1:
        raise ConfigError(f"a review does one thing at a time; leave out one of {', '.join(asked)}")
    with project.open_project(options) as here:
        if options.undo:
            return _undo(here, output)
        desk = Desk(here, options)
        if options.accept or options.reject:
            return _decide_unasked(desk, options, output)
        if options.web:
            return _ask_on_page(desk, output)
        if options.list or output.as_json or not review_keys.can_read_keys():
            return _list_questions(desk, output)
        return _ask(desk, output)


class Desk:
    """The parts of a review: pending files, settings, and functions that describe a question. One command owns it."""

    def __init__(self, here: project.Project, options: argparse.Namespace) -> None:
        self.here, self.options = here, options
        settings = runtime.current_settings()
        self._rules, self._keep_headers = match_rules_of(settings), settings.keep_headers
        self.clean: Callable[[Interaction], Interaction] = redactor_of(settings).redact_interaction
        pending = here.choose_pending(
            options.names, lambda name: bool(unrecorded_tests_text.find_unrecorded(here, [name]))
        )
        self.files = [(name, path, here.recording_folder_of(path)) for name, path in pending]
        self.roots = list(dict.fromkeys(root for _, _, root in self.files))

    def command(self, *words: str) -> str:
        """Return a command about the cassettes of this review."""
        return project.command_here(self.options, *words)

    def open_review(self, kinds: Sequence[ProposalKind] = ()) -> Review:
        """Read all pending files. ``kinds``: ask only about these kinds; without any, about those of ``--kind``."""
        key_of = comparison_key(self._rules, self._keep_headers)
        files = track_progress(self.files, "reading")
        return Review(files, key_of, self._rules, kinds=kinds or self.options.kind)

    def view(self, item: Item) -> ProposalView:
        """Return what is shown of a question."""
        return view_proposal(item.proposal, self.clean, self._rules)

    def find_tests(self, item: Item) -> list[TestPlace]:
        """Return the tests that use the cassette of a question."""
        root = item.cassette.root
        return find_tests(name_of_file(root, item.cassette.path), root, self.here.root)

    def find_unrecorded(self) -> list[UnrecordedTest]:
        """Return the tests that have drifted and for which nothing is recorded."""
        return unrecorded_tests_text.find_unrecorded(self.here, self.options.names)

    def describe_unrecorded(self) -> list[str]:
        """Return lines about the tests of ``find_unrecorded``, with the command to type."""
        return list(unrecorded_tests_text.describe_unrecorded(self.here, self.find_unrecorded()))

    def tell_what_else(self, review: Review, output: Output) -> None:
        """Print what cannot be reviewed, what interrupted runs have left, and tests without recordings."""
        for cassette in review.cassettes:
            if cassette.problem:
                output.print_problem(f"{cassette.name} cannot be reviewed: {cassette.problem}")
        if count := sum(number for _, number in self.here.list_interrupted()):
            recordings = count_of(count, "recording")
            output.print_line(f"{recordings} of interrupted runs in journals; store them: {self.command('accept')}")
        for line in self.describe_unrecorded():
            output.print_line(line)


def _ask(desk: Desk, output: Output) -> int:
    import_optional("rich", "cli", purpose="aquila cassettes review")
    with hold_reviews(desk.roots):
        review = desk.open_review()
        review.begin()
        if not review.items:
            _write_outcomes(review.apply(), output)
            output.print_line("nothing waits for a review; to record for one: pytest --aquila-record=pending")
            desk.tell_what_else(review, output)
            return FAILED if any(each.problem for each in review.cassettes) else 0
        loop = review_loop.Loop(review, review_screen.Screen(), desk.view, desk.clean, desk.find_tests)
        try:
            outcomes = loop.run()
        except KeyboardInterrupt:
            outcomes = None
            output.print_line()
        decided = review_loop.count_choices(review)
        if outcomes is None and review.outcomes is not None:
            _write_outcomes(review.outcomes, output)
            output.print_line(f"stopped while cassettes were written; continue with: {desk.command('review')}")
        elif outcomes is None:
            output.print_line(f"{decided}. Nothing was written; continue with: {desk.command('review')}")
        else:
            _write_outcomes(outcomes, output)
            _say_what_is_next(desk, review, outcomes, output)
        desk.tell_what_else(review, output)
    return FAILED if outcomes is not None and any(each.problem for each in outcomes) else 0


def _ask_on_page(desk: Desk, output: Output) -> int:
    """Serve the page of the review until the user ends it."""
    for module in ("starlette", "uvicorn", "httptools"):
        import_optional(module, "serve", purpose="aquila cassettes review --web")
    with hold_reviews(desk.roots):
        review = desk.open_review()
        review.begin()
        token = admission.make_token()
        reading = contents.Reading(desk.view, desk.find_tests, desk.describe_unrecorded)
        app = review_application.make_application(review, reading, token, lambda: server.end())  # noqa: PLW0108 - it is made below
        server = background_server.make_server(app)
        with background_server.listen_until_interrupted("127.0.0.1", desk.options.port) as bound:
            desk.tell_what_else(review, output)
            output.print_line(f"{count_of(len(review.waiting), 'question')} to answer. Open in a browser:")
            print(f"{background_server.url_of(bound)}/#{token}", flush=True)  # `Output` would redact the token
            server.run([bound])
        if review.items:
            waits = count_of(len(review.items), "recording")
            output.print_line(f"{waits} left; decisions are kept. Continue with: {desk.command('review')}")
    return 0


def _write_outcomes(outcomes: Sequence[Outcome], output: Output) -> None:
    for each in outcomes:
        if each.problem:
            output.print_problem(f"{each.name}: not written: {each.problem}")
        else:
            parts = [
                (each.applied.accepted, "accepted"),
                (each.applied.rejected, "rejected"),
                (each.applied.left, "still waits" if each.applied.left == 1 else "still wait"),
            ]
            said = ", ".join([f"{number} {what}" for number, what in parts if number])
            output.print_line(f"{each.name}: {said or 'the cassette has what waited already; removed what waited'}")


def _say_what_is_next(desk: Desk, review: Review, outcomes: Sequence[Outcome], output: Output) -> None:
    if any(not each.problem for each in outcomes):
        output.print_line()
        output.print_line(f"pytest replays what was written; to take it back: {desk.command('review', '--undo')}")
    if review.items:
        wait = number_of(len(review.items), "recording still waits", "recordings still wait")
        output.print_line(f"{wait}: {desk.command('review')}")


def _list_questions(desk: Desk, output: Output) -> int:
    review = desk.open_review()
    rows, found = [], []
    for item in review.items:
        view = desk.view(item)
        rows.append((item.cassette.name, item.proposal.number, item.id[:8], item.proposal.kind, _summarize(view)))
        if output.as_json:
            found.append(_as_json(desk, review, item, view))
    output.print_table(_COLUMNS, rows)
    if output.as_json:
        found += [unrecorded_tests_text.as_json(desk.here, each) for each in desk.find_unrecorded()]
        found += [
            {"cassette": each.name, "number": None, "id": None, "kind": "unreadable", "problem": each.problem}
            for each in review.cassettes
            if each.problem
        ]
    output.print_json(found)
    desk.tell_what_else(review, output)
    if not rows:
        output.print_line("nothing waits for a review")
        return FAILED if any(each.problem for each in review.cassettes) else 0
    first = f"{review.items[0].cassette.name}:{review.items[0].proposal.number}"
    if not desk.options.list:
        print_error(
            f"aquila: {_why_not_asked(output)}, so nothing was asked. "
            f"Decide with: {desk.command('review', '--accept', first)}"
        )
    return FOUND


def _why_not_asked(output: Output) -> str:
    if sys.platform == "win32" and not output.as_json:
        return "keys cannot be read from a terminal of Windows (aquila cassettes review --web asks in the browser)"
    return output.why_unasked or "stdout is not a terminal"


def _summarize(view: ProposalView) -> str:
    """Return the first change of a question, on one line."""
    for pieces in (view.prompt, view.answer):
        changed = [(kind, " ".join(text.split())) for kind, text in pieces if kind != "same"]
        if changed:
            return " ".join(f"-{text}" if kind == "removed" else f"+{text}" for kind, text in changed[:2])
    return ", ".join([each.path for each in view.fields[:3]] or [name for name, was, now in view.facts if was != now])


def _as_json(desk: Desk, review: Review, item: Item, view: ProposalView) -> dict[str, Any]:
    return {
        "cassette": item.cassette.name,
        "number": item.proposal.number,
        "id": item.id,
        "kind": item.proposal.kind,
        "group": item.proposal.group,
        "conversation": item.proposal.chain or None,
        "decided": review.choice_of(item),
        "tests": [test.id for test in desk.find_tests(item)],
        **view.as_json(),
    }


def _decide_unasked(desk: Desk, options: argparse.Namespace, output: Output) -> int:
    """Apply ``--accept`` and ``--reject``, and nothing else."""
    with hold_reviews(desk.roots):
        review = desk.open_review(kinds=KINDS)
        review.begin()
        kinds: tuple[ProposalKind, ...] = tuple(options.kind) or tuple(
            kind for kind in KINDS if kind != _ONLY_EXPLICITLY
        )
        decided: dict[str, tuple[Item, Choice]] = {}
        named: set[Path] = set()
        as_a_whole: set[Path] = set()
        given: list[tuple[Choice, str]] = [("accept", word) for word in options.accept]
        given += [("reject", word) for word in options.reject]
        for choice, word in given:
            paths, numbers = _find_cassettes(desk, review, word)
            named.update(paths)
            as_a_whole.update(() if numbers else paths)
            for item in _find_questions(review, paths, numbers, kinds):
                if item.id in decided and decided[item.id][1] != choice:
                    raise ConfigError(
                        f"{item.cassette.name}:{item.proposal.number} is both accepted and rejected; leave one out"
                    )
                decided[item.id] = item, choice
        idle = [each for each in review.cassettes if each.path in named and not each.proposals]
        conversations = [review.chain_of(item) for item, choice in decided.values() if choice == "accept"]
        outcomes = review.apply_only(decided.values(), idle)
        _write_outcomes(outcomes, output)
        if not outcomes:
            output.print_line("nothing was decided: no such question")
        for line in _name_torn_apart(conversations, review):
            output.print_line(line)
        gone = [
            item for item in review.items if item.proposal.kind == _ONLY_EXPLICITLY and item.cassette.path in as_a_whole
        ]
        if gone and not options.kind:
            output.print_line(f"{count_of(len(gone), 'recording')} would be removed only with --kind gone")
    output.print_json([dataclasses.asdict(each) for each in outcomes])
    return FAILED if not outcomes or any(each.problem for each in outcomes) else 0


def _name_torn_apart(conversations: Sequence[Sequence[Item]], review: Review) -> Iterator[str]:
    """Yield a line for each cassette in which only a part of a conversation was accepted."""
    members = {item.id for items in conversations for item in items}
    left: dict[str, list[int]] = {}
    for item in review.items:
        if item.id in members:
            left.setdefault(item.cassette.name, []).append(item.proposal.number)
    for name, numbers in left.items():
        places = ", ".join([f"{name}:{number}" for number in sorted(numbers)])
        yield f"{name}: a part of a conversation was accepted; decide the rest too, which names its ids: {places}"


def _find_questions(
    review: Review, paths: Sequence[Path], numbers: Sequence[str], kinds: Sequence[ProposalKind]
) -> list[Item]:
    """Return the questions about cassettes, only those with ``numbers`` if there are any. Raises ``CassetteError``."""
    for each in review.cassettes:
        if each.path in paths and each.problem:
            raise CassetteError(f"{each.name} cannot be reviewed: {each.problem}")
    names = dict.fromkeys(each.name for each in review.cassettes if each.path in paths)
    return [item for name in names for item in choose_proposals(review, name, numbers, kinds)]


def _find_cassettes(desk: Desk, review: Review, word: str) -> tuple[list[Path], list[str]]:
    """Return the cassettes that a name means, and the number or id after a colon, if any. Raises ``CassetteError``."""
    paths = {each.path: each.name for each in review.cassettes}
    name: str = word
    numbers: list[str] = []
    named = desk.here.choose_among(paths, name)
    match = re.fullmatch(r"(.+):([0-9a-f][0-9a-f-]*)", word)
    if not named and match is not None:
        name, numbers = match[1], [match[2]]
        named = desk.here.choose_among(paths, name)
    if not named:
        hint = suggest_name(name, paths.values()) if paths else "; nothing waits at all"
        raise CassetteError(f"nothing waits for {name!r}{hint}")
    if numbers and len(named) > 1:
        raise CassetteError(f"{name!r} names {len(named)} cassettes, and a number needs exactly one")
    return named, numbers


def _undo(here: project.Project, output: Output) -> int:
    roots = here.folders_with_journals
    with hold_reviews(roots):
        paths = sorted(path for root in roots for path in take_back(root))
    for path in paths:
        output.print_line(f"{shorten_path(path)} is as it was")
    if not paths:
        output.print_line("there is no review to take back")
    output.print_json([str(path) for path in paths])
    return 0 if paths else FAILED
