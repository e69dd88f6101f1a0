"""The run: the one owner of what lasts while Aquila is in use in a process.

A run holds its settings, the test that runs, the scopes that are open, and objects of other modules that last as long
as the run (see ``Run.state_of``). It is entered and left as a context manager: by the pytest plugin, by a command, by a
child process for its whole life. A run within a run (pytester in this process) has a state of its own. The outer run is
unchanged after the inner one has ended.

Every test run imports this module, so it imports little itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from _contextvars import ContextVar, copy_context  # `contextvars`, a module around it, costs every run its import
from collections.abc import Callable, Mapping, Sequence
from os import getpid  # not what a test has put in its place
from pathlib import Path

from aquila.config import SettingsLayers
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import late_function, lazy_modules
from aquila.recording.environment import SetVariables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeAlias, TypeVar

    from aquila.errors import LiveCallRefused, UnansweredRequest
    from aquila.recording import open_scopes
    from aquila.recording.open_scopes import OpenScopes, ScopeWatcher
    from aquila.recording.scope import Scope
    from aquila.settings import Settings

    MakeOutcome: TypeAlias = Callable[[UnansweredRequest], UnansweredRequest]
    OpenScope: TypeAlias = Callable[[], Scope | None]

    import hmac

    from aquila.recording.reporting.child_messages import ChildMessages
    from aquila.recording.reporting.exchange_watch import ExchangeWatch
    from aquila.recording.reporting.play_log import PlayLog
    from aquila.recording.reporting.wire_watch import WireWatch
    from aquila.recording.storing.answers_in_progress import AnswersInProgress

    T = TypeVar("T")

    class LeftThreads(Protocol):
        """Threads of a run that a program has left. See ``aquila.intercept.processes.left_threads``."""

        run: Run

        def has_current(self) -> bool:
            """Whether this thread is one of them."""

        def end_with_last(self) -> bool:
            """Take back what is in force for them, if none is alive. Return whether it was taken back."""
else:
    lazy_modules(globals(), "aquila.recording: open_scopes", "hmac")


hold_values = copy_context
"""Called before a context variable is set, and the result kept meanwhile. It costs a tenth of a microsecond.

In Python up to 3.11 the garbage collector may run within ``ContextVar.set``. If a finalizer sets a variable then, as in
litellm, the values that ``set`` reads are freed and the interpreter crashes. A copy of the context keeps them alive.
"""


class Asker:
    """A mark for the test, or the shared fixture, that code works for. It does not keep them alive. ``name`` is the id.

    ``outcome`` is that of a test that has not passed: failed, skipped or xfailed. See ``aquila.recording.askers``.
    """

    __slots__ = ("is_test", "name", "outcome")

    def __init__(self, name: str | None, *, is_test: bool) -> None:
        self.name = name
        self.is_test, self.outcome = is_test, ""


asker: ContextVar[Asker | None] = ContextVar("aquila_asker", default=None)
"""For which test this context works, if known. ``running_test`` and ``askers.working_for`` set it for a time."""


class RunningTest:
    """The test that runs. ``name`` is its id, for messages. ``open_scope`` opens its scope, or returns the open one,
    or None once the test has ended. ``mark`` stands for it where nothing may keep the test itself alive.

    ``refusals`` are the requests that the guard refused while it ran, oldest first. Any thread may add one.
    ``variables_before`` is the position in ``set_variables`` at which it began. ``has_begun`` says that its setup has
    begun, and ``has_ended`` that nothing can fail it any more. ``how_to_type`` returns its id and the command that
    records it, as users type them.
    """

    def __init__(self, run: Run, name: str | None, open_scope: OpenScope | None, mark: Asker | None) -> None:
        self._run, self.name, self.open_scope = run, name, open_scope
        self.mark = Asker(name, is_test=True) if mark is None else mark
        self.how_to_type: Callable[[], tuple[str, str]] | None = None
        self.has_begun = self.has_ended = False

    # Not a generator, which takes three times as long, and each test enters this.
    def __enter__(self) -> RunningTest:
        run = self._run
        self._around = outer, *_ = run.test, run.thread, asker.get()
        if outer is None:
            self.refusals: list[LiveCallRefused] = []
            self.variables_before = set_variables().count
        else:  # this is a part of the test, such as a fixture
            self.refusals, self.variables_before = outer.refusals, outer.variables_before
            self.has_begun, self.how_to_type = outer.has_begun, outer.how_to_type
        run.test, run.thread = self, threading.get_ident()
        _held = hold_values()
        asker.set(self.mark)
        return self

    def __exit__(self, *_: object) -> None:
        self._run.test, self._run.thread, asker_around = self._around
        _held = hold_values()
        asker.set(asker_around)


class MachineKeys:
    """Secrets that redactors look for besides those in the environment now. They are never stored or shown."""

    __slots__ = ("environment", "fingerprints", "hidden")

    def __init__(self) -> None:
        self.environment: Mapping[str, str] = {}
        """The environment as it was when the run began. Applications keep keys that they read from it at import."""
        self.hidden: Mapping[str, str] = {}
        """The variables of which a dummy key has taken the place, with their real values."""
        self.fingerprints: Sequence[str] = ()
        """Fingerprints of keys that the parent process hides; see ``aquila.cassettes.redaction.fingerprints``."""


class Repetition:
    """Whether pytest may run the current test once more; see ``sessions.drifted_conversations``.

    ``is_possible`` says that the test runs once more if a conversation drifts in it. ``keys`` are those of the
    recordings that are put aside while the test runs the second time, by cassette.
    """

    __slots__ = ("is_possible", "keys")

    def __init__(self) -> None:
        self.is_possible = False
        self.keys: Mapping[str, Sequence[str]] = {}


SEAL_LENGTH = 32
"""Characters of a seal."""


class RunKey:
    """The key for the seals of references. A process has one; that of the run around all others owns it.

    ``accepts_all`` says that this process was put under test by hand and shares a key with nobody. ``meeting_place`` is
    the folder in which the processes that have the key find each other; None until one of them can be found there.
    """

    def __init__(self) -> None:
        self.key = os.urandom(16).hex()
        self.accepts_all = False
        self.meeting_place: str | None = None

    def make_seal(self, text: str) -> str:
        """Return the seal of a text."""
        return hmac.digest(self.key.encode(), text.encode(), "sha256").hex()[:SEAL_LENGTH]

    def fits(self, seal: str, text: str) -> bool:
        """Whether a process of this run has made a seal for this text, or any seal is accepted here."""
        return self.accepts_all or hmac.compare_digest(self.make_seal(text).encode(), seal.encode())


class _ScopesOnFirstUse:
    """Makes the open scopes of a run when something first asks for them, and puts them in its own place."""

    # A `__getattr__` of the class would make every attribute of a run slow to read, and some are read for each request.

    def __get__(self, run: Run | None, kind: type[Run]) -> Any:
        if run is None:  # The class itself is asked, for example by `inspect.getmembers`.
            return self
        # Of two threads that ask first, both get the one that was stored first.
        return vars(run).setdefault("scopes", open_scopes.OpenScopes(run._scope_watchers))


class Run:
    """The state of one run. ``layers`` are its settings around the environment.

    ``make_outcome`` turns an unanswered request into an outcome of a test, if the run is one of tests. ``tell`` shows
    the user a sentence at once, where the log may be captured.
    """

    if TYPE_CHECKING:
        scopes: OpenScopes
    else:
        scopes = _ScopesOnFirstUse()
    """Its open scopes. Made when something first asks for them: most test runs have none."""

    def __init__(self, layers: SettingsLayers) -> None:
        self.layers = layers
        self.make_outcome: MakeOutcome | None = None
        self.tell: Callable[[str], None] | None = None
        self.unstored: list[str] = []
        """What could not be written to disk, each error once, for the summary. Programs may swallow these errors."""
        self.runs_tests = False
        """Whether pytest runs in it."""
        self.has_ended = False
        """Whether its tests are over. Requests of code that they left running are still refused, and told at once."""
        self.process = getpid()
        self.thread = threading.get_ident()
        """The thread in which tests run: that of the running one, else the one that began the run."""
        self.messages: tuple[str, str, str] | None = None
        """Where child processes leave messages: parent of the folder, its mark, identity of the parent."""
        self.has_shared_misses = False  # in this process, in the scope of a fixture that several tests share
        self.told_by_children: ChildMessages | None = None
        """The messages of child processes, once there is a folder for them. Reading this field imports nothing."""
        self.bounded_threads: set[int] = set()
        """The threads that are within a boundary of ``aquila.recording.miss_outcomes`` now."""
        self.test: RunningTest | None = None
        self.unasked: dict[str, None] = {}
        """The requests that no test asked for and nothing answered, in their order. Any thread may add one."""
        self.refused: dict[str, None] = {}
        """What was refused while no test ran that could fail, in sentences. Any thread may add one."""
        self.unguarded: dict[str, None] = {}
        """What may reach the network although it should not, in sentences. Any thread may add one."""
        self.notes: dict[tuple[str, str], None] = {}
        """Further notes for the summary, each once: a sentence, and a command to type or "".

        Any thread may add one.
        """
        self.shared_variables: dict[tuple[str, str], None] = {}
        """The variables, with their values, that were set for a moment at least while test modules were imported and
        shared fixtures were set up."""
        self._variables_before: int | None = None  # the position at its start, until a test begins
        self._scope_watchers: list[ScopeWatcher] = []  # grows only; watchers live as long as the run
        self.repetition = Repetition()
        self.play_log: PlayLog | None = None
        """What its scopes have played, in a run that verifies recordings."""
        self.wire_watch: WireWatch | None = None
        """What programs do on the wire, in a process that tries faults."""
        self.exchange_watch: ExchangeWatch | None = None
        """What was asked and what answered, in a run that writes a report."""
        self.answers_in_progress: AnswersInProgress | None = None
        """The answers that it records at this moment, in a run that shows them."""
        self.tells_jobs = False
        """Whether the run of the parent process wants to know which tasks are executed here."""
        self.lock = renewed_in_child(threading.RLock())
        """Held while a test's scope opens, so that all its threads get the same scope."""
        self._states: dict[tuple[str, str], Any] = {}  # see `state_of`; they go with the run
        self._resources = contextlib.ExitStack()  # see `hold`; closed by `end_tests` or at the end of the run
        self._bound_outside: Scope | None = None  # the scope that was bound when this run was entered

    def __enter__(self) -> Run:
        """Make this run the current one. A scope of the run around it is not in force within it."""
        self._bound_outside = _bind_scope(None)
        self._variables_before = set_variables().count
        _runs.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Undo what the run put in force, and make the run around it the current one again."""
        try:
            self._resources.close()
            self._close_scopes()
        finally:
            _runs.remove(self)
            _bind_scope(self._bound_outside)

    def end_tests(self) -> None:
        """Undo what belongs to its tests. What they have left behind is still guarded as the settings say."""
        self.has_ended, self.make_outcome, self.test = True, None, None
        try:
            self._resources.close()
        finally:
            self._close_scopes()

    def _close_scopes(self) -> None:
        if "scopes" in vars(self):
            self.scopes.close_all()

    def watch_scopes(self, watcher: ScopeWatcher) -> None:
        """Tell ``watcher`` about scopes from now on. Opening a scope costs nothing more while nobody watches."""
        if watcher not in self._scope_watchers:
            self._scope_watchers.append(watcher)

    def hold(self, resource: contextlib.AbstractContextManager[T]) -> T:
        """Enter a context manager now and leave it with the run; the last one first."""
        return self._resources.enter_context(resource)

    def state_of(self, kind: type[T]) -> T:
        """Return this run's one object of a class, made without arguments on first use.

        Other modules keep here what lasts as long as the run, instead of in globals. A class is found by its name, not
        by identity: pytester forgets the modules that a test has imported, and the next import makes new classes.
        """
        name = kind.__module__, kind.__qualname__
        state: T | None = self._states.get(name)
        if state is None:
            # Without a lock: of two threads that make one at once, both get the one that was stored first.
            state = self._states.setdefault(name, kind())
        return state

    def running_test(self, name: str | None, open_scope: OpenScope | None, mark: Asker | None = None) -> RunningTest:
        """Say which test runs, in a `with` block. Threads that start in it work for ``mark``, else for the test."""
        if self._variables_before is not None:
            self.shared_variables.update(dict.fromkeys(set_variables().since(self._variables_before)))
            self._variables_before = None
        return RunningTest(self, name, open_scope, mark)

    def remember_refusal(self, refusal: LiveCallRefused) -> None:
        """Note a refusal for the running test, which then fails even if its code swallows the error.

        Where no test runs, the summary tells of it; after the tests, it is told at once.
        """
        if self.exchange_watch is not None:
            self.exchange_watch.note_problem(None, refusal)
        test = self.test  # it may end meanwhile: any thread calls this
        if test is not None and not test.has_ended:
            test.refusals.append(refusal)
        elif not self.has_ended:
            self.refused[refusal.sentence] = None
        elif self.tell is not None:
            self.tell(f"after the tests, {refusal.sentence}")

    def take_refused(self) -> list[str]:
        """What was refused where no test runs, since this was called last."""
        refused = list(self.refused)
        self.refused.clear()
        return [f"outside of any test, {sentence}" for sentence in refused]

    @property
    def is_here(self) -> bool:
        """Whether this is the process in which the run began, not a forked child of it."""
        return self.process == getpid()

    @property
    def test_name(self) -> str | None:
        """The id of the running test, for messages."""
        return self.test.name if self.test is not None else None

    @property
    def can_open_scope(self) -> bool:
        """Whether a test runs whose scope opens when something asks for it."""
        return self.test is not None and self.test.open_scope is not None

    def open_test_scope(self) -> Scope | None:
        """Open the scope of the running test, or return the open one. None if no test runs."""
        test = self.test
        return test.open_scope() if test is not None and test.open_scope is not None else None


def _bind_scope(scope: Scope | None) -> Scope | None:
    """Bind a scope to this context and return the one that was bound."""
    # Nothing can be bound before `scope` is loaded. It is not imported here, because many test runs never need it.
    scopes = sys.modules.get("aquila.recording.scope")
    bound: Scope | None = scopes.bind_scope(scope) if scopes is not None else None
    return bound


_redact_record: Callable[[logging.LogRecord], bool] = late_function(
    "aquila.recording.secrets.outgoing", "redact_log_record"
)
# The filters stay for the life of the process. Both loggers of Aquila: that of the queues is below Huey's, so that its
# records go where Huey's go.
for _logger in ("aquila", "huey.aquila"):
    logging.getLogger(_logger).addFilter(_redact_record)

_runs = [Run(SettingsLayers(Path()))]
"""The one place that says which run is current: the last one. The first is that of the process itself.

Not a context variable: requests come from any thread, and a thread that a library started has no context of ours.
"""


left_threads: list[LeftThreads] = []
"""The threads of each run that a program has left while they went on; mostly empty. ``left_threads`` of
``intercept.processes`` adds to it, and ``current_run`` removes an entry once its last thread has ended."""


def new_place_of_messages(root: str) -> tuple[str, str, str]:
    """Return a value for ``Run.messages``: a new folder in ``root``, which is not made yet."""
    return root, os.urandom(8).hex(), identity_of_folder(root)


def identity_of_folder(path: str) -> str:
    """Return what tells a folder from one with the same path in a container. Empty if that is not known."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_dev}-{status.st_ino}"


def current_run() -> Run:
    """Return the run in force in this process, or, in a thread that has outlived its run, that run."""
    if left_threads:
        for left in tuple(left_threads):  # a copy: another thread may remove an entry
            if left.has_current():
                return left.run
            if left.end_with_last():
                left_threads.remove(left)
    return _runs[-1]


def runs_in_force() -> list[Run]:
    """Return the run in force here, and those around it, the innermost first."""
    run = current_run()
    return [*reversed(_runs)] if run is _runs[-1] else [run]


def process_run() -> Run:
    """The run around all others. It owns what a process has only once: patches of classes and of the environment."""
    return _runs[0]


def is_outermost(run: Run) -> bool:
    """Whether this run is not within another one of tests in this process."""
    return next((each for each in _runs if each.runs_tests), None) is run


def current_settings() -> Settings:
    """The settings of the run in force, outside any scope."""
    return current_run().layers.resolve()


def is_under_pytest() -> bool:
    """Whether this process runs pytest with the plugin: then nothing goes live unless asked for."""
    return current_run().layers.under_pytest


def machine_keys() -> MachineKeys:
    """The secrets of the machine that its environment does not show now."""
    return _runs[0].state_of(MachineKeys)


def run_key() -> RunKey:
    """The key of this process for the seals of references; see ``aquila.recording.under_test``."""
    return _runs[0].state_of(RunKey)


def set_variables() -> SetVariables:
    """The variables that this process has set while a block of ``SetVariables.noting`` was open."""
    return _runs[0].state_of(SetVariables)
