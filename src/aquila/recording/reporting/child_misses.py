"""Messages of child processes to the test that started them, through files: misses, refusals, plays, used cassettes.

A child may swallow a miss like any other code, and its parent sees only its exit status. So the child appends each miss
to a file, in a folder that the run of the tests has made, and the scope of the test reads that file.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila import errors
from aquila.cassettes.storage.regular_files import append_whole, open_to_append
from aquila.errors import CassetteMiss, ConversationDrifted, LiveCallRefused
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila import temporary_folders
    from aquila.cassettes.storage import file_replacement
    from aquila.recording.reporting import open_to_children
    from aquila.recording.runtime import Run
    from aquila.recording.secrets import outgoing
else:
    lazy_modules(
        globals(),
        "aquila: temporary_folders",
        "aquila.cassettes.storage: file_replacement",
        "aquila.recording.reporting: open_to_children",
        "aquila.recording.secrets: outgoing",
    )


_KINDS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CassetteMiss)
}
_PURPOSE = "misses"
"""The purpose of the folder, for its name."""
_ANEW = "anew.json"
"""The name of the file that says what is recorded anew. It is no id of a scope."""
_USED = "used"
"""The file in which children name the cassettes that they use."""
_REFUSED = "refused"
"""The file in which children write down what was refused them."""
_NOTES = "notes"
"""The file in which children write down what is to be told at the end of the run."""
_MOST_ROWS = 10_000
"""How many refusals, and how many misses of a scope, a process tells at most: a loop would fill the disk."""
_UNTOLD = (
    f"another process of this test has missed {_MOST_ROWS:,} times, and may have gone on: no further miss of it is "
    "counted; look for a loop in what it runs"
)
_PATIENCE, _PAUSE = 1.0, 0.005
"""Seconds to wait for the row of a child that has made its file but may not have written yet, and between two looks."""
_TORN = (
    "no recording answers a request of another process of this test. That process could not write into {folder} what "
    "it had asked: look at what it printed, and whether the disk of that folder is full"
)


class ChildMisses:
    """The folder of messages of a run, or of the run that started this process: a file for each scope and kind.

    Two kinds go the other way: the parent tells the children what is recorded anew, and which scopes are shared. The
    run owns this object.
    The process that made the folder removes it at the end of the run. Without a folder, ``tell`` methods do nothing.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.open_scopes: open_to_children.OpenToChildren | None = None
        """The open scopes of the process that made the folder."""
        self._was_shown = False  # whether this process sees `open_scopes` of its parent, while they are there
        self._time_when_empty: int | None = None  # see `may_have_messages`; known to the process that made the folder
        # Two threads that read one file must not both take the same rows.
        self._lock = renewed_in_child(threading.Lock())
        self._read: dict[str, int] = {}  # how many bytes of each file were taken so far
        self._told: dict[str, int] = {}  # how many rows this process has told, by files that have a limit
        self._torn: dict[str, bool] = {}  # files whose last row is incomplete; the value says whether that was told

    def tell(self, scope_id: str, miss: CassetteMiss) -> None:
        """Write down a miss in a scope of the parent process."""
        if self._append_in_limit(scope_id, [*describe_miss(miss), _conversation_of(miss)]) == _MOST_ROWS:
            self._append(scope_id, [*describe_miss(CassetteMiss(_UNTOLD)), {}])

    def tell_drift(self, scope_id: str, row: Mapping[str, Any]) -> None:
        """Write down a request in a scope of the parent process that has drifted."""
        self._append_in_limit(f"{scope_id}.drift", row)

    def tell_shared(self, scope_id: str) -> None:
        """Tell the children of a scope of this process that its code does not run again with one test."""
        self._append(f"{scope_id}.shared", True)

    def is_shared(self, scope_id: str) -> bool:
        """Whether the parent has told so with ``tell_shared``."""
        return self.folder is not None and os.path.exists(os.path.join(self.folder, f"{scope_id}.shared"))

    def tell_play(self, scope_id: str, row: Sequence[Any]) -> None:
        """Write down what was played in a scope of the parent process. No two rows are equal."""
        self._append(f"{scope_id}.plays", row)

    def make_folder(self, run: Run) -> None:
        """Make the folder, at the place that children are told. It is removed with the run.

        Raises ``OSError`` if it cannot be made.
        """
        if run.messages is None:
            run.messages = runtime.new_place_of_messages(temporary_folders.temporary_root())
        root, mark, _ = run.messages
        try:
            folder = run.hold(temporary_folders.TemporaryFolder(_PURPOSE, mark, root))
        except FileExistsError:  # this was called before, in a test that had put something in place of `open`
            folder = temporary_folders.path_of(_PURPOSE, mark, root)
        with contextlib.suppress(OSError):  # a full disk; children then take every scope for open
            self.open_scopes = run.hold(contextlib.closing(open_to_children.OpenToChildren(folder)))
        # A time in the past, so that a file that is added within the same tick of the clock changes it, too.
        earlier = time.time() - 3600
        with contextlib.suppress(OSError):
            os.utime(folder, (earlier, earlier))
            self._time_when_empty = os.stat(folder).st_mtime_ns
        self.folder, run.told_by_children = folder, self

    @property
    def may_have_messages(self) -> bool:
        """Whether a file may have been added since the folder was made. One system call for all kinds of messages."""
        if self.folder is None:
            return False
        try:
            return os.stat(self.folder).st_mtime_ns != self._time_when_empty
        except OSError:  # somebody has removed the folder
            return True

    def take_plays(self, scope_id: str) -> Sequence[Any]:
        """What the children of a scope have told with ``tell_play`` since the last call."""
        rows = self._take_rows(f"{scope_id}.plays")
        return [_parse_row(row) for row in rows] if rows else ()

    def tell_job(self, scope_id: str, told: Mapping[str, Any]) -> None:
        """Write down an execution of a task in a scope of the parent process."""
        self._append(f"{scope_id}.jobs", told)

    def take_jobs(self, scope_id: str) -> Iterator[dict[str, Any]]:
        """What the children of a scope have told with ``tell_job`` since the last call."""
        for text in self._take_rows(f"{scope_id}.jobs"):
            row = _parse_row(text)
            if isinstance(row, dict) and isinstance(row.get("id"), str) and isinstance(row.get("began"), float):
                yield row

    def tell_refusal(self, text: str, test: str | None) -> None:
        """Write down a refusal in this process. ``test`` is the id of the test that has started it, if known."""
        self._append_in_limit(_REFUSED, [os.getpid(), text, test])

    def pass_on_refusals(self, run: Run) -> None:
        """Note for the running test of ``run`` what was refused in child processes since the last call."""
        for refusal, _ in self._take_refusals():
            run.remember_refusal(refusal)

    def take_unheard(self) -> list[str]:
        """What was refused in child processes since the last call, as sentences; for the end of a run."""
        return [
            f"a process that {test} started: {sentence}" if test and test not in sentence else sentence
            for sentence, test in ((refusal.sentence, test) for refusal, test in self._take_refusals())
        ]

    def _take_refusals(self) -> Iterator[tuple[LiveCallRefused, str | None]]:
        for row in self._take_rows(_REFUSED):
            match _parse_row(row):
                case [int(), str(text), str() | None as test]:
                    yield LiveCallRefused(outgoing.redact_outgoing(text)), test

    def tell_note(self, sentence: str, command: str = "", *, is_unguarded: bool = False) -> None:
        """Write down a row for ``Run.notes`` of the parent, or for ``Run.unguarded`` if it ``is_unguarded``."""
        self._append_in_limit(_NOTES, [sentence, command, is_unguarded])

    def take_notes(self) -> Iterator[tuple[str, str, bool]]:
        """Yield what children told with ``tell_note`` since the last call: sentence, command, ``is_unguarded``."""
        for row in self._take_rows(_NOTES):
            match _parse_row(row):
                case [str(sentence), str(command), bool(is_unguarded)]:
                    yield outgoing.redact_outgoing(sentence), outgoing.redact_outgoing(command), is_unguarded

    def tell_met(self, mark: str, number: int) -> None:
        """Write down that a request has met the fault with a number of a plan of the parent process."""
        self._append(f"{mark}.faults", number)

    def take_met(self, mark: str) -> Iterator[int]:
        """Yield the numbers that children told with ``tell_met`` since the last call."""
        for row in self._take_rows(f"{mark}.faults"):
            if isinstance(number := _parse_row(row), int):
                yield number

    def _append_in_limit(self, name: str, row: Any) -> int:
        """Append a row, unless this process has appended very many to this file. Return how many it was asked to."""
        self._told[name] = told = self._told.get(name, 0) + 1
        if told <= _MOST_ROWS:
            self._append(name, row)
        return told

    def _append(self, name: str, row: Any) -> None:
        if self.folder is None:
            return
        with contextlib.suppress(OSError):  # the run of the parent has ended
            path = os.path.join(self.folder, name)
            file = open_to_append(path, 0o600)
            try:
                append_whole(file, path, json.dumps(row).encode() + b"\n")  # children do not mix lines
            finally:
                os.close(file)

    def tell_anew(self, keys: Mapping[str, Sequence[str]]) -> None:
        """Tell the children which recordings are made anew: for each cassette the keys. Empty takes that back."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, _ANEW)
        if keys:
            with open(path + ".new", "w", encoding="utf-8", opener=_open_private) as file:
                json.dump({name: list(each) for name, each in keys.items()}, file)
            # In one step: a child may read it at any time.
            file_replacement.change_open_file(os.replace, path + ".new", path)
        else:
            with contextlib.suppress(FileNotFoundError):
                file_replacement.change_open_file(os.remove, path)

    def read_anew(self) -> Mapping[str, Sequence[str]]:
        """Return what the parent has told with ``tell_anew``."""
        if self.folder is None:
            return {}
        try:
            with open(os.path.join(self.folder, _ANEW), encoding="utf-8") as file:
                keys: Mapping[str, Sequence[str]] = json.load(file)
        except OSError:  # almost always: there is nothing to tell
            return {}
        return keys

    def tell_used(self, folder: str, cassette: str) -> None:
        """Write down a cassette that this process uses, and its folder."""
        self._append(_USED, [folder, cassette])

    def take_used(self) -> set[tuple[str, str]]:
        """The folders and names of the cassettes that children have used since the last call."""
        found = set()
        for row in self._take_rows(_USED):
            match _parse_row(row):
                case [str(folder), str(cassette)]:
                    found.add((folder, cassette))
        return found

    def take(self, scope_id: str, *, is_last: bool = False) -> Sequence[CassetteMiss]:
        """Return the misses of the children of a scope since the last call. Equal misses count once.

        ``is_last`` says that the scope is about to end. Then this waits for a child that is writing, and a miss that a
        child could not write completely counts, too.
        """
        rows = self._take_rows(scope_id, patience=_PATIENCE if is_last else 0)
        misses = [_miss_of_child(_parse_row(row)) for row in rows] if rows else []
        if self._torn.get(scope_id) is False:
            self._torn[scope_id] = True
            misses.append(CassetteMiss(_TORN.format(folder=self.folder)))
        return misses

    def note_open(self, scope_id: str) -> None:
        """Let child processes see that a scope of this process is open."""
        if self.open_scopes is not None and self.open_scopes.process == os.getpid():
            self.open_scopes.add(scope_id)

    def note_closed(self, scope_id: str) -> None:
        """Let child processes see that a scope of this process has ended."""
        if self.open_scopes is not None and self.open_scopes.process == os.getpid():
            self.open_scopes.remove(scope_id)

    def look_for_open_scopes(self, run: Run) -> None:
        """Note whether this process can see the open scopes of its parent. If they are gone then, its run has ended."""
        if self.folder is None or run.messages is None:
            return
        root, _, identity = run.messages
        # A process that another child has started may begin after the run. Then only the place is left.
        is_place = identity == runtime.identity_of_folder(root) != ""
        self._was_shown = is_place or open_to_children.is_shown(self.folder)

    def is_open(self, scope_id: str) -> bool:
        """Whether a scope is still open in the parent process, which lets its children see that."""
        if self.open_scopes is not None:  # this is a fork of that process
            return self.open_scopes.holds(scope_id)
        return open_to_children.is_open_in_parent(self.folder, scope_id, was_shown=self._was_shown)

    def take_drift(self, scope_id: str) -> Iterator[dict[str, Any]]:
        """What the children of a scope have told with ``tell_drift`` since the last call."""
        for text in self._take_rows(f"{scope_id}.drift"):
            row = _parse_row(text)
            if isinstance(row, dict):
                yield outgoing.redact_outgoing_value(row)

    def _take_rows(self, name: str, *, patience: float = 0) -> Collection[str]:
        if self.folder is None:
            return ()
        path = f"{self.folder}{os.sep}{name}"  # each test asks a few times, and `os.path.join` takes longer
        if not os.access(path, os.F_OK):  # as it is almost always, and told faster than by an exception
            return ()
        # The file stays: a child that has opened it may be about to write. Its last line may be incomplete.
        with self._lock, open(path, "rb") as file:
            begin = file.seek(self._read.get(name, 0))
            rows = file.read()
            if patience and name not in self._torn:
                while _is_torn(begin, rows) and patience > 0:  # a child may be about to write
                    time.sleep(_PAUSE)
                    patience -= _PAUSE
                    rows += file.read()
                if _is_torn(begin, rows):
                    self._torn[name] = False
            whole = rows.rfind(b"\n") + 1
            self._read[name] = begin + whole
        return dict.fromkeys(rows[:whole].decode("utf-8", "replace").split("\n")[:-1])


def _is_torn(begin: int, rows: bytes) -> bool:
    """Whether a file has an incomplete row. ``rows`` are its bytes from the offset ``begin`` on."""
    return not rows.endswith(b"\n") if rows else not begin


def describe_miss(miss: CassetteMiss) -> list[Any]:
    """Return a miss as plain data, for another process."""
    return [miss.public_class.__name__, str(miss), *miss.facts.values()]


def miss_from(row: Any) -> CassetteMiss:
    """Return the miss that ``describe_miss`` described in another process.

    A damaged row is a miss, too, so that nothing can hide one.
    """
    match row:
        case [
            str(kind), str(text), str() | None as difference, str() | None as group, str() | None as cure,
        ] if kind in _KINDS:  # fmt: skip
            return _KINDS[kind](text, difference=difference, group=group, cure=cure)
    return CassetteMiss("another process of this test told of a miss, and what it wrote of it cannot be read")


def _conversation_of(miss: CassetteMiss) -> dict[str, list[str]]:
    return {name: list(keys) for name, keys in getattr(miss, "conversation", {}).items()}


def _miss_of_child(row: Any) -> CassetteMiss:
    """Return the miss of a child, which may say that a conversation is to be recorded anew.

    Only a child may say that, in a folder to which nobody else may write; a message over a queue may not. The text is
    redacted here: the test may have set keys of which the child knew nothing.
    """
    known = isinstance(row, list) and bool(row)
    miss = miss_from(outgoing.redact_outgoing_value(row[:-1]) if known else row)
    if isinstance(miss, ConversationDrifted) and isinstance(row[-1], dict):
        miss.conversation = {str(name): list(map(str, keys)) for name, keys in row[-1].items()}
    return miss


def _parse_row(row: str) -> Any:
    try:
        return json.loads(row)
    except (ValueError, RecursionError):
        return None


def hear_refusals(run: Run) -> None:
    """Note for the running test of ``run`` what was refused in child processes since the last call.

    Does nothing in a child process: it would take refusals of other processes for its own.
    """
    if run.told_by_children is not None:
        run.told_by_children.pass_on_refusals(run)


def misses_folder(run: Run) -> str | None:
    """Return the folder for messages of the children of ``run``, or of the run that has started this process.

    It is made now if tests run in ``run``, and ends with it. Raises ``OSError`` if it cannot be made.
    """
    misses = run.state_of(ChildMisses)
    if misses.folder is not None:
        return misses.folder
    if run.runs_tests and run.is_here:  # also while a conftest is imported, or nothing would make it later
        misses.make_folder(run)
    elif run.messages is not None:
        root, mark, _ = run.messages
        misses.folder = temporary_folders.path_of(_PURPOSE, mark, root)
    return misses.folder


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
