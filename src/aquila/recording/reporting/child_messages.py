"""Messages between child processes and the run that started them: misses, refusals, plays, used cassettes and more.

A child may swallow a miss like any other code, and its parent sees only its exit status. So the child appends each miss
to a file, in a folder that the run of the tests has made, and the scope of the test reads that file.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.errors import CassetteMiss, CassetteUnusable, LiveCallRefused
from aquila.lazy_imports import lazy_modules
from aquila.recording.reporting.message_files import MOST_ROWS, MessageFiles
from aquila.recording.reporting.open_to_children import ScopesShownToChildren

if TYPE_CHECKING:
    from aquila import process_marks
    from aquila.recording.reporting import described_misses
    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.runtime import Run
    from aquila.recording.secrets import outgoing
else:
    lazy_modules(
        globals(),
        "aquila: process_marks",
        "aquila.recording.reporting: described_misses",
        "aquila.recording.secrets: outgoing",
    )

# Names of files. None is the id of a scope.
_ANEW = "anew.json"
"""Says what is recorded anew."""
_USED = "used"
"""In it children name the cassettes that they use."""
_BLOCKS = "blocks"
"""In it children write down what their own blocks have replayed and recorded."""
_BLOCK_PLAYS = "block-plays"
"""In it children name the recordings that their own blocks have played, for a report."""
_RECORDINGS = "recordings"
"""In it children write down the recordings that they have played, for a verification."""
_REFUSED = "refused"
"""In it children write down what was refused them."""
_NOTES = "notes"
"""In it children write down what is to be told at the end of the run."""

_number = itertools.count()
"""Numbers the rows of this process that count although they are equal. ``next`` is atomic."""

_UNTOLD = (
    f"another process of this test has missed {MOST_ROWS:,} times, and may have gone on: no further miss of it is "
    "counted; look for a loop in what it runs"
)
_TORN = (
    "no recording answers a request of another process of this test. That process could not write into {folder} what "
    "it had asked: look at what it printed, and whether the disk of that folder is full"
)


class ChildMessages:
    """The messages of a run, or of the run that started this process: a file for each scope and kind.

    Three things go the other way: the parent tells the children what is recorded anew, which scopes are shared, and
    which are open. The run owns this object.
    The process that made the folder removes it at the end of the run. Without a folder, ``tell`` methods do nothing.
    """

    def __init__(self, folder: str | None = None) -> None:
        """``folder`` is that of the files, if it is made and known already."""
        self.files = MessageFiles(folder)
        self.open_scopes = ScopesShownToChildren()

    @property
    def folder(self) -> str | None:
        """The folder, once it is made or the parent has told its place."""
        return self.files.folder

    def make_folder(self, run: Run) -> None:
        """Make the folder, at the place that children are told. It is removed with the run.

        Raises ``OSError`` if it cannot be made.
        """
        folder = self.files.make_folder(run)
        self.open_scopes.show_in(folder, run)
        self.files.use_folder(folder)
        run.told_by_children = self

    # For the scope of a test.

    def tell_miss(self, scope_id: str, miss: CassetteMiss) -> None:
        """Write down a miss in a scope of the parent process."""
        if self.files.append_in_limit(scope_id, described_misses.describe_miss_of_child(miss)) == MOST_ROWS:
            self.files.append(scope_id, described_misses.describe_miss_of_child(CassetteMiss(_UNTOLD)))

    def take_misses(self, scope_id: str, *, is_last: bool = False) -> Sequence[CassetteMiss]:
        """Return the misses of the children of a scope since the last call. Equal misses count once.

        ``is_last`` says that the scope is about to end. Then this waits for a child that is writing, and a miss that a
        child could not write completely counts, too.
        """
        rows = self.files.take_rows(scope_id, is_last=is_last)
        misses = [described_misses.miss_of_child(row) for row in rows]
        if self.files.take_torn(scope_id):
            misses.append(CassetteMiss(_TORN.format(folder=self.folder)))
        return misses

    def tell_drift(self, scope_id: str, row: Mapping[str, Any]) -> None:
        """Write down a request in a scope of the parent process that has drifted."""
        self.files.append_in_limit(f"{scope_id}.drift", row)

    def take_drift(self, scope_id: str) -> Iterator[dict[str, Any]]:
        """Yield what the children of a scope have told with ``tell_drift`` since the last call."""
        for row in self.files.take_rows(f"{scope_id}.drift"):
            if isinstance(row, dict):
                yield outgoing.redact_outgoing_value(row)

    def tell_play(self, scope_id: str, row: Sequence[Any]) -> None:
        """Write down what was played in a scope of the parent process."""
        self._append_each(f"{scope_id}.plays", row)

    def take_plays(self, scope_id: str, *, again: bool = False) -> Sequence[Any]:
        """Return what the children of a scope have told with ``tell_play`` since the last call.

        With ``again`` the next call returns it once more.
        """
        return self._take_each(f"{scope_id}.plays", again=again)

    def tell_job(self, scope_id: str, told: Mapping[str, Any]) -> None:
        """Write down an execution of a task in a scope of the parent process."""
        self.files.append(f"{scope_id}.jobs", told)

    def take_jobs(self, scope_id: str) -> Iterator[dict[str, Any]]:
        """Yield what the children of a scope have told with ``tell_job`` since the last call."""
        for row in self.files.take_rows(f"{scope_id}.jobs"):
            if isinstance(row, dict) and isinstance(row.get("id"), str) and isinstance(row.get("began"), float):
                yield row

    def tell_met(self, mark: str, number: int) -> None:
        """Write down that a request has met the fault with a number of a plan of the parent process."""
        self._append_each(f"{mark}.faults", number)

    def take_met(self, mark: str) -> Iterator[int]:
        """Yield the numbers that children told with ``tell_met`` since the last call, each as often as they did."""
        for number in self._take_each(f"{mark}.faults"):
            if isinstance(number, int):
                yield number

    def _append_each(self, name: str, row: Any) -> None:
        """Append a row that counts although it equals another one: with a mark that no other row has."""
        self.files.append(name, [f"{process_marks.process_mark()}.{next(_number)}", row])

    def _take_each(self, name: str, *, again: bool = False) -> list[Any]:
        return [row[1] for row in self.files.take_rows(name, again=again) if isinstance(row, list) and len(row) == 2]

    # For the run.

    def tell_refusal(self, refusal: LiveCallRefused, test: str | None) -> None:
        """Write down a refusal in this process. ``test`` is the id of the test that has started it, if known."""
        self.files.append_in_limit(_REFUSED, [os.getpid(), str(refusal), test, isinstance(refusal, CassetteUnusable)])

    def pass_on_refusals(self, run: Run) -> None:
        """Note for the running test of ``run`` what was refused in child processes since the last call."""
        for refusal, _ in self._take_refusals():
            run.remember_refusal(refusal)

    def take_unheard(self) -> list[str]:
        """Return what was refused in child processes since the last call, as sentences; for the end of a run."""
        return [
            f"a process that {test} started: {sentence}" if test and test not in sentence else sentence
            for sentence, test in ((refusal.sentence, test) for refusal, test in self._take_refusals())
        ]

    def _take_refusals(self) -> Iterator[tuple[LiveCallRefused, str | None]]:
        for row in self.files.take_rows(_REFUSED):
            match row:
                case [int(), str(text), str() | None as test, bool(is_unusable)]:
                    kind = CassetteUnusable if is_unusable else LiveCallRefused
                    yield kind(outgoing.redact_outgoing(text)), test

    def tell_note(self, sentence: str, command: str = "", *, is_unguarded: bool = False) -> None:
        """Write down a row for ``Run.notes`` of the parent, or for ``Run.unguarded`` if it ``is_unguarded``."""
        self.files.append_in_limit(_NOTES, [sentence, command, is_unguarded])

    def take_notes(self) -> Iterator[tuple[str, str, bool]]:
        """Yield what children told with ``tell_note`` since the last call: sentence, command, ``is_unguarded``."""
        for row in self.files.take_rows(_NOTES):
            match row:
                case [str(sentence), str(command), bool(is_unguarded)]:
                    yield outgoing.redact_outgoing(sentence), outgoing.redact_outgoing(command), is_unguarded

    def tell_used(self, folder: str, cassette: str) -> None:
        """Write down a cassette that this process uses, and its folder."""
        self.files.append(_USED, [folder, cassette])

    def take_used(self) -> set[tuple[str, str]]:
        """Return the folders and names of the cassettes that children have used since the last call."""
        found = set()
        for row in self.files.take_rows(_USED):
            match row:
                case [str(folder), str(cassette)]:
                    found.add((folder, cassette))
        return found

    def tell_block(self, scope_id: str, report: ScopeReport) -> None:
        """Write down what a block of this process has done, which no scope of the parent process is around."""
        counts = [report.replayed, report.recorded, report.scripted, report.tokens, report.seconds]
        self.files.append(_BLOCKS, [scope_id, *counts])

    def take_blocks(self) -> Iterator[tuple[int, int, int, int, float]]:
        """Yield what blocks of children did since the last call: answers that were replayed, recorded and scripted.

        Then come the tokens and the seconds that the replayed ones took.
        """
        for row in self.files.take_rows(_BLOCKS):
            match row:
                case [str(), int(replayed), int(recorded), int(scripted), int(tokens), float(seconds)]:
                    yield replayed, recorded, scripted, tokens, seconds

    def tell_block_plays(self, scope_id: str, path: str, numbers: Sequence[int]) -> None:
        """Write down which recordings, by their numbers from 0, of a cassette file a block of this process played."""
        self.files.append(_BLOCK_PLAYS, [scope_id, path, list(numbers)])

    def take_block_plays(self) -> Iterator[tuple[str, Sequence[int]]]:
        """Yield what children told with ``tell_block_plays`` since the last call: files and numbers."""
        for row in self.files.take_rows(_BLOCK_PLAYS):
            match row:
                case [str(), str(path), list(numbers)]:
                    yield path, numbers

    def tell_recording(self, row: Sequence[Any]) -> None:
        """Write down a recording that this process has played, as a row of ``PlayLog``."""
        self.files.append(_RECORDINGS, row)

    def take_recordings(self) -> Iterator[Sequence[Any]]:
        """Yield what children told with ``tell_recording`` since the last call."""
        for row in self.files.take_rows(_RECORDINGS):
            if isinstance(row, list) and len(row) == 6:
                yield row

    # From the parent to its children.

    def tell_shared(self, scope_id: str) -> None:
        """Tell the children of a scope of this process that its code does not run again with one test."""
        self.files.append(f"{scope_id}.shared", True)

    def is_shared(self, scope_id: str) -> bool:
        """Whether the parent has told so with ``tell_shared``."""
        return self.files.has_file(f"{scope_id}.shared")

    def tell_anew(self, keys: Mapping[str, Sequence[str]]) -> None:
        """Tell the children which recordings are made anew: for each cassette the keys. Empty takes that back."""
        self.files.replace_file(_ANEW, {name: list(each) for name, each in keys.items()})

    def read_anew(self) -> Mapping[str, Sequence[str]]:
        """Return what the parent has told with ``tell_anew``."""
        keys: Mapping[str, Sequence[str]] | None = self.files.read_file(_ANEW)
        return keys or {}

    # Whether scopes of the parent are open still.

    def look_for_open_scopes(self, run: Run) -> None:
        """Note whether this process can see the open scopes of its parent. If they are gone then, its run has ended."""
        if self.folder is not None and run.messages is not None:
            self.open_scopes.look_in(self.folder, run.messages)

    def is_open(self, scope_id: str) -> bool:
        """Whether a scope is still open in the parent process, which lets its children see that."""
        return self.open_scopes.is_open(scope_id, self.folder)


def hear_refusals(run: Run) -> None:
    """Note for the running test of ``run`` what was refused in child processes since the last call.

    Does nothing in a child process: it would take refusals of other processes for its own.
    """
    if run.told_by_children is not None:
        run.told_by_children.pass_on_refusals(run)


def messages_folder(run: Run) -> str | None:
    """Return the folder for messages of the children of ``run``, or of the run that has started this process.

    It is made now if tests run in ``run``, and ends with it. Raises ``OSError`` if it cannot be made.
    """
    messages = run.state_of(ChildMessages)
    if messages.files.folder is None:
        if run.runs_tests and run.is_here:  # also while a conftest is imported, or nothing would make it later
            messages.make_folder(run)
        else:
            messages.files.use_folder_of_parent(run)
    return messages.files.folder
