"""A line at the bottom of the terminal while a recording takes long, with the test, the model and the time so far.

It is below the line that pytest writes, is shown only while pytest captures output, and is removed before anything else
writes: pytest, a debugger, a test with ``capsys.disabled()``. It is not shown if nobody watches, or if tests write
directly: in pipes, in CI, in workers, and with ``-q``, ``-s``, ``--capture=tee-sys`` or live logs.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest

from aquila.cassettes.answers.answer_content import read_answer
from aquila.fork_locks import renewed_in_child
from aquila.recording.runtime import Run
from aquila.recording.storing.answers_in_progress import AnswerInProgress, AnswersInProgress
from aquila.recording.storing.machine_clock import machine_seconds
from aquila.wire_forms.table import read_sent
from pytest_aquila.summary import run_news

SHOWN_AFTER = 2.0
"""Seconds after which an answer that is not complete is shown."""
_EVERY = 0.5
"""Seconds between two updates of the line."""
LONGEST_NAME = 60
"""At most this many characters of a model's name are shown, because it comes from the answer and may be any text."""


def begin_status(config: pytest.Config, run: Run) -> None:
    """Show the status line in this run if somebody may watch its terminal."""
    if may_be_watched(config):
        status = RecordingStatus(config, run)
        config.pluginmanager.register(status, RecordingStatus.__name__)
        config.add_cleanup(status.stop)


def may_be_watched(config: pytest.Config) -> bool:
    """Whether only this process writes pytest's output, in the usual way. Whether to a terminal is found out later."""
    unattended = [name for name in ("CI", "BUILD_NUMBER") if os.environ.get(name)]
    if unattended or os.environ.get("TERM", "dumb") == "dumb" or hasattr(config, "workerinput"):
        return False
    if config.getoption("dist", "no") != "no" or config.getoption("capture", "no") not in ("fd", "sys"):
        return False
    if config.get_verbosity() < 0 or config.getoption("usepdb", False) or _shows_logs(config):
        return False
    return not config.pluginmanager.is_blocked("terminal")


def _shows_logs(config: pytest.Config) -> bool:
    """Whether pytest writes what tests log while they run."""
    if config.pluginmanager.is_blocked("logging"):  # then its options do not exist
        return False
    return bool(config.getoption("log_cli_level", None) or config.getini("log_cli"))


class RecordingStatus:
    """A plugin whose thread draws the line.

    The thread lives from the first test to ``stop``. ``_lock`` guards ``_is_shown``, ``_terminal`` and all writing.
    """

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self._config = config
        self._run = run
        self._answers = AnswersInProgress()
        self._test = ""
        # Reentrant, because a signal handler may make pytest suspend its capture while this thread holds the lock.
        self._lock = renewed_in_child(threading.RLock())
        self._is_shown = False
        self._capture: Any = None
        self._terminal: int | None = None
        self._encoding = "ascii"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._count: Count | None = None
        """The count of the answer that was shown last; None after the test has ended."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember which test runs. The first test starts the thread."""
        self.hide()
        self._test = run_news.clean_text(nodeid)
        if self._thread is None and self._open_terminal() and self._join_capture():
            self._run.answers_in_progress = self._answers
            self._thread = threading.Thread(target=self._draw_on, name="aquila-status", daemon=True)
            self._thread.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hide the line for the result of a test. Answers that the test has left are forgotten."""
        if report.when == "teardown":
            self._answers.clear()
            self._count = None
        self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(self) -> None:
        """Stop showing answers of a test that has failed."""
        self._answers.clear()
        self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Stop before pytest writes its summary."""
        self.stop()

    def stop(self) -> None:
        """Remove the line for good, and close the terminal."""
        self._ended.set()
        self._answers.clear()
        self.hide()
        with self._lock:
            terminal, self._terminal = self._terminal, None
            if terminal is not None:
                os.close(terminal)

    def _draw_on(self) -> None:
        while not self._ended.wait(_EVERY):
            slow = self._answers.find_slow(SHOWN_AFTER)
            if not slow:
                self._count = None
            try:
                text = self.describe(slow) if slow else ""
            except Exception:  # noqa: BLE001 - whatever an answer says, the run goes on
                text = ""
            if text:
                self._show(text)
            else:
                self.hide()

    def describe(self, slow: list[AnswerInProgress]) -> str:
        """Return the text of the line. ``slow`` are the answers that take long, oldest first."""
        first = slow[0]
        sent = read_sent(first.asked)
        what = [urlsplit(first.asked.url).hostname or "", sent.model]
        named = run_news.clean_text(" ".join(" ".join(filter(None, what)).split()))[:LONGEST_NAME]
        parts = [named, f"{machine_seconds() - first.began:.0f} s"]
        counted = self._count
        if counted is None or counted.answer is not first:
            counted = self._count = Count(first)
        count = counted.update()
        parts += [f"{count:,} characters"] if count else []
        parts += [f"and {len(slow) - 1} more"] if len(slow) > 1 else []
        return f"{self._test}  " + "  ".join(parts)

    def _show(self, text: str) -> None:
        with self._lock:
            if self._ended.is_set() or not self._is_captured() or not self._answers.find_slow(SHOWN_AFTER):
                return
            room = self._config.get_terminal_writer().fullwidth - len("  recording ") - 1
            shown = text if len(text) <= room else f"…{text[len(text) - room + 1 :]}"
            # Only the terminal knows where the cursor is, because tests may have written there. So the terminal saves
            # the place itself (ESC 7), after ESC D has made sure that there is a line below. ESC 8 in `hide` restores
            # it.
            lead = "\r\x1b[K" if self._is_shown else "\x1bD\x1b[A\x1b7\n\r"
            self._is_shown = True
            self._write(f"{lead}  recording {shown}")

    def hide(self) -> None:
        """Remove the line, and put the cursor back to its place."""
        with self._lock:
            was_shown, self._is_shown = self._is_shown, False
            if was_shown:
                self._write("\r\x1b[K\x1b8")

    def _is_captured(self) -> bool:
        """Whether pytest captures output now."""
        # Private to pytest, which has no public way to ask. If it is missing, nothing counts as captured.
        capturing = getattr(self._capture, "_global_capturing", None)
        return capturing is not None and capturing.is_started()

    def _join_capture(self) -> bool:
        """Hide the line whenever pytest stops capturing, and return whether that can be noticed.

        No hook reports it, because debuggers and tests call the capture plugin directly. So its method is
        wrapped, on the plugin's instance, which ends with the run.
        """
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if type(capture).__module__ != "_pytest.capture":
            return False
        suspend = capture.suspend_global_capture

        @functools.wraps(suspend)
        def hide_and_suspend(*arguments: Any, **options: Any) -> None:
            with self._lock:  # so that the thread cannot draw the line between these two calls
                self.hide()
                suspend(*arguments, **options)

        capture.suspend_global_capture = hide_and_suspend
        self._capture = capture
        return True

    def _open_terminal(self) -> bool:
        """Duplicate the file descriptor of pytest's terminal, for use while output is captured.

        It must be called while output is not captured. Returns whether pytest writes to a terminal.
        """
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        file: Any = getattr(self._config.get_terminal_writer(), "_file", None) if reporter is not None else None
        try:
            if type(reporter).__module__ == "_pytest.terminal" and file.isatty():
                self._encoding = file.encoding or "ascii"
                self._terminal = os.dup(file.fileno())
        except (OSError, ValueError, AttributeError):  # pytest writes to an object that is no file of the system
            return False
        return self._terminal is not None

    def _write(self, text: str) -> None:
        try:
            if self._terminal is not None:
                os.write(self._terminal, text.encode(self._encoding, "replace"))
        except (OSError, LookupError):  # the terminal was closed
            self._ended.set()


class Count:
    """The number of characters that an answer has had so far.

    ``_read`` is how many of its chunks were read, ``_rest`` the incomplete line at their end.
    """

    def __init__(self, answer: AnswerInProgress) -> None:
        self.answer = answer
        self._read = 0
        self._rest = b""
        self._count = 0

    def update(self) -> int:
        """Read the chunks since the last call, and return the count of characters."""
        new = self.answer.arrived[self._read :]  # another thread adds to it meanwhile
        self._read += len(new)
        data = self._rest + b"".join([each.data for each in new])
        whole = data.rfind(b"\n") + 1
        self._rest = data[whole:]
        for choice in read_answer(data[:whole]).choices.values():
            texts = [
                *choice.text,
                *choice.reasoning,
                *(each for call in choice.calls.values() for each in call.arguments),
            ]
            self._count += sum(map(len, texts))
        return self._count
