"""One run of a test in a forked child, under one fault or under none, with the observations made in it."""

from __future__ import annotations

import _thread
import functools
import os
import re
import select
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import pytest

from aquila.engine.calls.prepared_call import ReadInterrupter
from aquila.errors import FaultFailed, UnansweredRequest
from aquila.fault_verdicts.executed_code import ExecutedCode
from aquila.fault_verdicts.forked_process import Tell
from aquila.fault_verdicts.judging import Ending, is_whole
from aquila.fault_verdicts.left_behind import LeftBehind
from aquila.fault_verdicts.skipped_sleeps import SkippedSleeps, find_sleeper
from aquila.faults.fault import Fault, ImpossibleFault
from aquila.faults.plan import FaultPlan
from aquila.recording.miss_outcomes import walk_errors
from aquila.recording.reporting.wire_watch import Attempt, WireWatch
from aquila.recording.scope import Scope
from aquila.recording.scripts import SharedScripts
from aquila.recording.secrets import outgoing
from pytest_aquila import test_scopes
from pytest_aquila.outcomes import text_of
from pytest_aquila.recording_runs import second_attempts

_MOST_ATTEMPTS = 100
"""A program that sends a request this many times as often as without a fault is taken to send it for ever."""

_PARENTS = ("pdbinvoke", "faulthandler", "WorkerInteractor", "FaultRuns")
"""Plugins that record the run, or report it to a controller. They belong to the parent process."""

_LONGER = 600.0
"""Seconds by which the silence of a fault outlasts the time limit of the test."""


class ForkedAttempt:
    """The work of a forked child. ``baseline`` is the outcome of the child without a fault, None in that child.

    ``faults`` are those that the run tries. ``seconds`` is how long the test may take. ``is_own`` says whether the code
    of a file belongs to the program under test.
    """

    def __init__(
        self,
        item: pytest.Item,
        faults: tuple[Fault, ...],
        seconds: float,
        is_own: Callable[[str], bool],
        *,
        fault: Fault | None = None,
        baseline: dict[str, Any] | None = None,
    ) -> None:
        self._item = item
        self._faults = faults
        self._seconds = seconds
        self._fault = fault
        self._baseline = baseline
        self._sleeps = SkippedSleeps()
        self._waits = FakedWaits()
        self._code = ExecutedCode(is_own)
        self._watch = WireWatch(self._sleeps.now, self._note_attempt)
        self._raised: list[BaseException] = []
        self._ending: tuple[Ending, str] | None = None
        self._tell: Tell | None = None

    def run(self, tell: Tell) -> None:
        """Run the test in this process, and send its outcome with ``tell``, which ends the process."""
        shared = self._item.config.stash[test_scopes.RUN].state_of(SharedScripts)
        shared.server = None  # the parent's server does not know the scope of this process

        def tell_and_leave_no_file(message: Any) -> NoReturn:
            if shared.server is not None:  # its socket is a file
                shared.server.close()
            tell(message)

        self._tell = tell_and_leave_no_file
        _leave_the_run(self._item)
        left = LeftBehind()
        _after(self._seconds, self._tell_hung)
        run = self._item.config.stash[test_scopes.RUN]
        run.process, run.wire_watch = os.getpid(), self._watch
        self._item.stash[test_scopes.PREPARE_SCOPE] = self._prepare
        self._item.config.pluginmanager.register(self)
        self._sleeps.install()
        self._sleeps.skip_method(ReadInterrupter, "sleep")
        self._waits.watch()
        self._code.start()
        try:
            reports = _run_protocol(self._item)
        except (KeyboardInterrupt, pytest.exit.Exception) as error:  # raised by the program: Ctrl-C reaches the parent
            self._tell(self._describe("raised", type(error).__name__, []))
        ending, detail = self._find_ending(reports)
        self._code.stop()
        _let_go(self._raised, self._item)
        self._tell(self._describe(ending, detail, left.find()))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note the first exception of the test. Its text for the terminal is not made, because nobody reads it."""
        item.repr_failure = lambda excinfo, style=None: ""  # type: ignore[method-assign]
        report = yield
        if call.excinfo is not None:  # set only now for a `unittest.TestCase`
            self._raised.append(call.excinfo.value)
            self._ending = self._ending or self._read_error(call.excinfo)
        return report

    def _prepare(self, scope: Scope) -> None:
        """Set up the scope: unused answers do not fail a test under a fault, and a silence outlasts the test.

        A program that begins anew after a fault, as a job does, gets the answers to its first requests again.
        """
        options: dict[str, Any] = {"unused": "ignore", "unplayed": "ignore", "silence": self._seconds + _LONGER}
        if self._fault is not None and scope.settings.repeat == "error":
            options["repeat"] = "last"
        scope.override_settings(options, source="--aquila-faults")
        if self._fault is not None:
            scope.faults.use(FaultPlan.from_text(str(self._fault), scope.id))

    def _note_attempt(self, attempt: Attempt) -> None:
        attempt.asker = hash(find_sleeper())
        if attempt.fault:
            self._sleeps.skip_here()
        attempt.slept = self._sleeps.skipped_here + self._watch.left_out
        if attempt.fault:
            self._waits.found |= self._sleeps.are_faked
            count = sum(each.key == attempt.key for each in self._watch.attempts)
            if count >= _MOST_ATTEMPTS * self._usual_count(attempt.key) and self._tell is not None:
                self._tell(self._describe("hung", f"still asking after {count} requests", []))

    def _usual_count(self, key: str) -> int:
        """Return how often a request is made without a fault, at least 1."""
        usual: list[dict[str, Any]] = self._baseline["attempts"] if self._baseline is not None else []
        return [row["key"] for row in usual].count(key) or 1

    def _tell_hung(self) -> None:
        # Called in the thread of `_after`, so the stack of the main thread is read from outside.
        frames = sys._current_frames()
        frame = frames.get(threading.main_thread().ident or 0)
        where = _innermost(traceback.extract_stack(frame), self._item) if frame is not None else ""
        if self._tell is not None:
            self._tell(self._describe("hung", f"no end after {self._seconds:g} s{where}", []))

    def _describe(self, ending: Ending, detail: str, leaks: list[str]) -> dict[str, Any]:
        outcome = {
            "ending": ending,
            "detail": outgoing.redact_label(detail),
            "attempts": list(map(asdict, self._watch.attempts)),
            "has_noticed": False,
            "fakes_waits": self._waits.found or self._sleeps.are_faked,
            "leaks": leaks,
        }
        places = self._code.places()
        if self._baseline is None:
            applies = [str(fault) for fault in self._faults if self._can_apply(fault)]
            answers = zip(self._watch.attempts, self._watch.decisions, strict=False)  # a thread may still add some
            not_whole = [attempt.key for attempt, each in answers if not is_whole(each.interaction.response.body)]
            return {**outcome, "places": sorted(places), "applies": applies, "not_whole": not_whole}
        more = Counter(leaks) - Counter(self._baseline["leaks"])
        return {
            **outcome,
            "has_noticed": not places <= set(self._baseline["places"]),
            "leaks": [f"{number} {what}{'s' if number > 1 else ''}" for what, number in more.items()],
        }

    def _can_apply(self, fault: Fault) -> bool:
        for decision in list(self._watch.decisions):
            with suppress(ImpossibleFault):
                fault.change(decision.interaction)
                return True
        return False

    def _find_ending(self, reports: list[pytest.TestReport]) -> tuple[Ending, str]:
        if self._ending is not None:
            return self._ending
        bad = next((report.outcome for report in reports if not report.passed), None)
        return ("passed", "") if bad is None else ("asserted", bad)

    def _read_error(self, info: pytest.ExceptionInfo[BaseException]) -> tuple[Ending, str]:
        error, kind = info.value, type(info.value).__name__
        text = f"{kind}: {_first_line(text_of(error))}"
        if isinstance(error, FaultFailed) and "nothing ended the silence" in str(error):
            return "silent", "nothing ended the silence"
        if isinstance(error, UnansweredRequest):
            return "unanswered", "asked something else, which no recording answers"
        if isinstance(error, (AssertionError, pytest.fail.Exception, pytest.skip.Exception)):
            return "asserted", text
        return ("asserted" if Path(str(info.traceback[-1].path)) == self._item.path else "raised"), text


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= 100 else f"{line[:99]}…"


def _innermost(stack: traceback.StackSummary, item: pytest.Item) -> str:
    """Return the innermost place of a stack in the project, for the end of a message."""
    root = str(item.config.rootpath)
    for frame in reversed(stack):
        if frame.filename.startswith(root) and "site-packages" not in frame.filename:
            return f", in {os.path.relpath(frame.filename, root)}:{frame.lineno}"
    return ""


def _leave_the_run(item: pytest.Item) -> None:
    """Cut this process off from the terminal, the controller and the capture of the run."""
    manager = item.config.pluginmanager
    capture: Any = manager.get_plugin("capturemanager")
    silent = os.open(os.devnull, os.O_RDWR)
    if capture is not None:
        with suppress(Exception):
            capture.read_global_capture()
        capture.stop_global_capturing()
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    for plugin in [*manager.get_plugins()]:
        if manager.get_name(plugin) in _PARENTS or type(plugin).__name__ in _PARENTS:
            manager.unregister(plugin)
    if capture is not None:
        capture.start_global_capturing()
        capture.suspend_global_capture()


def _run_protocol(item: pytest.Item) -> list[pytest.TestReport]:
    """Run a test with pytest's own plugins around it, but without others, which might repeat it or limit its time."""
    manager = item.config.pluginmanager
    runner: Any = manager.get_plugin("runner")
    reports: list[pytest.TestReport] = []

    class Runner:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
            reports.extend(runner.runtestprotocol(item, log=False, nextitem=nextitem))
            return True

    own = Runner()
    manager.register(own)
    others = [
        plugin
        for plugin in manager.get_plugins()
        if plugin is not own and not getattr(plugin, "__name__", type(plugin).__module__).startswith("_pytest.")
    ]
    with test_scopes.running_test(item), second_attempts.keeping_shared_fixtures(item):
        manager.subset_hook_caller("pytest_runtest_protocol", others)(item=item, nextitem=None)
    return reports


def _let_go(errors: list[BaseException], item: pytest.Item) -> None:
    """Release objects that only the frames of a failed test still hold, so that they do not count as leaks."""
    while errors:
        for each in walk_errors(errors.pop()):
            traceback.clear_frames(each.__traceback__)  # plugins may remember the error
    logging: Any = item.config.pluginmanager.get_plugin("logging-plugin")
    for handler in ("caplog_handler", "report_handler"):
        with suppress(AttributeError):
            getattr(logging, handler).reset()


def _after(seconds: float, do: Any) -> None:
    """Call ``do`` after ``seconds``, in a thread, even if the test blocks or replaces clocks."""
    # `_thread`, and `select` on a pipe, because tests may replace `threading` and `time.sleep`.
    reading, _ = os.pipe()

    def wait() -> None:
        select.select([reading], [], [], seconds)
        do()

    _thread.start_new_thread(wait, ())


_ABOUT_WAITS = re.compile(r"sleep|wait|delay|back_?off|retr|pause|jitter|interval|attempt", re.IGNORECASE)


class FakedWaits:
    """Notices whether a test replaces the waits of its program, so that its back-off cannot be judged.

    A test of back-off seldom waits. It replaces ``time.sleep`` by a function that does nothing, or sets the seconds
    between two attempts to 0. ``watch`` is never undone: the process is a forked child.
    """

    def __init__(self) -> None:
        self.found = False
        """Whether something was patched whose name suggests a wait."""

    def watch(self) -> None:
        """Begin to notice patches by ``pytest.MonkeyPatch`` and ``unittest.mock``."""
        for name in ("setattr", "setitem", "setenv"):
            self._watch_method(pytest.MonkeyPatch, name)
        mock: Any = sys.modules.get("unittest.mock")
        if mock is not None:
            # Private classes: `mock.patch` returns their objects, and names no public class.
            self._watch_method(mock._patch, "__enter__", "attribute")
            self._watch_method(mock._patch_dict, "__enter__", "values")

    def _watch_method(self, kind: type, name: str, field: str | None = None) -> None:
        original = getattr(kind, name)

        @functools.wraps(original)
        def watched(this: Any, *arguments: Any, **named: Any) -> Any:
            named_by = arguments[:2] if field is None else (getattr(this, field, ""),)
            texts = [text for each in named_by for text in (each if isinstance(each, dict) else (each,))]
            if any(isinstance(text, str) and _ABOUT_WAITS.search(text) for text in texts):
                self.found = True
            return original(this, *arguments, **named)

        setattr(kind, name, watched)
