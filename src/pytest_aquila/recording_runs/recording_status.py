"""A line at the bottom of a terminal while one answer takes long to record: of which test and model, for how long.

It stands below the line that pytest writes while pytest captures what others write, and is gone before anybody may
write: pytest, a debugger, a test with ``capsys.disabled()``. Nothing is written where nobody looks, or where tests
write all the time: in pipes, in CI, by workers, with ``-q``, ``-s``, ``--capture=tee-sys`` and live logs.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aquila.recording.storing.answers_in_progress import AnswerInProgress, AnswersInProgress
from aquila.run_report.answers import read_answer
from aquila.wire_forms.table import read_sent
from pytest_aquila.summary import run_news

if TYPE_CHECKING:
    from aquila.recording.runtime import Run

SHOWN_AFTER = 2.0
"""Seconds that an answer takes before it is shown."""
_EVERY = 0.5
"""Seconds between two looks."""
_LONGEST_NAME = 60


def begin_status(config: pytest.Config, run: Run) -> None:
    """Show what a run records, if it writes to a terminal at which somebody looks."""
    if may_be_watched(config):
        status = RecordingStatus(config, run)
        config.pluginmanager.register(status, RecordingStatus.__name__)
        config.add_cleanup(status.stop)


def may_be_watched(config: pytest.Config) -> bool:
    """Whether this process alone writes what pytest says, and in its usual way. Where to, is not known yet."""
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
    if config.pluginmanager.is_blocked("logging"):  # its settings are not there either
        return False
    return bool(config.getoption("log_cli_level", None) or config.getini("log_cli"))


class RecordingStatus:
    """A plugin that draws the line, in a thread of its own."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self._config = config
        self._run = run
        self._answers = AnswersInProgress()
        self._test = ""
        # The handler of a signal may ask pytest to stop capturing while its thread is here.
        self._lock = threading.RLock()
        self._is_shown = False
        self._capture: Any = None
        self._terminal: int | None = None
        self._encoding = "ascii"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._count: Count | None = None
        """Of the answer that was shown last."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin with the first test; remember which one runs."""
        self.hide()
        self._test = run_news.clean_text(nodeid)
        if self._thread is None and self._open_terminal() and self._join_capture():
            self._run.answers_in_progress = self._answers
            self._thread = threading.Thread(target=self._draw_on, name="aquila-status", daemon=True)
            self._thread.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Make room for the result of a test. What it still records is no news of the next."""
        if report.when == "teardown":
            self._answers.clear()
            self._count = None
        self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(self) -> None:
        """Show no more of a test that has failed."""
        self._answers.clear()
        self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End, before pytest sums up."""
        self.stop()

    def stop(self) -> None:
        """Draw no more."""
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
        """Return what the line says of answers, oldest first, that take long."""
        first = slow[0]
        sent = read_sent(first.asked)
        what = [urlsplit(first.asked.url).hostname or "", sent.model]
        named = run_news.clean_text(" ".join(" ".join(filter(None, what)).split()))[:_LONGEST_NAME]
        parts = [named, f"{time.monotonic() - first.began:.0f} s"]
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
            # Where the cursor is, only the terminal knows: tests may have written there. So it keeps the place itself,
            # once there is a line below.
            lead = "\r\x1b[K" if self._is_shown else "\x1bD\x1b[A\x1b7\n\r"
            self._is_shown = True
            self._write(f"{lead}  recording {shown}")

    def hide(self) -> None:
        """Take the line away, and put the cursor where it had been."""
        with self._lock:
            was_shown, self._is_shown = self._is_shown, False
            if was_shown:
                self._write("\r\x1b[K\x1b8")

    def _is_captured(self) -> bool:
        """Whether what anybody writes now is kept from the terminal."""
        capturing = getattr(self._capture, "_global_capturing", None)
        return capturing is not None and capturing.is_started()

    def _join_capture(self) -> bool:
        """Hide the line whenever pytest stops to capture. No hook tells: debuggers and tests ask its plugin."""
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if type(capture).__module__ != "_pytest.capture":
            return False
        suspend = capture.suspend_global_capture

        @functools.wraps(suspend)
        def hide_and_suspend(*arguments: Any, **options: Any) -> None:
            with self._lock:  # so that it is not drawn again in between
                self.hide()
                suspend(*arguments, **options)

        capture.suspend_global_capture = hide_and_suspend
        self._capture = capture
        return True

    def _open_terminal(self) -> bool:
        """Open a way to the terminal of pytest that stays while output is captured. Called where it is not."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        file: Any = getattr(self._config.get_terminal_writer(), "_file", None) if reporter is not None else None
        try:
            if type(reporter).__module__ == "_pytest.terminal" and file.isatty():
                self._encoding = file.encoding or "ascii"
                self._terminal = os.dup(file.fileno())
        except (OSError, ValueError, AttributeError):  # no file of the system
            return False
        return self._terminal is not None

    def _write(self, text: str) -> None:
        try:
            if self._terminal is not None:
                os.write(self._terminal, text.encode(self._encoding, "replace"))
        except (OSError, LookupError):  # the terminal is gone
            self._ended.set()


class Count:
    """How many characters an answer has said so far."""

    def __init__(self, answer: AnswerInProgress) -> None:
        self.answer = answer
        self._read = 0
        self._rest = b""
        self._count = 0

    def update(self) -> int:
        """Read what has come since the last call, and return the count."""
        chunks = self.answer.arrived
        new = chunks[self._read :]
        self._read = max(self._read, len(chunks))
        data = self._rest + b"".join([each.data for each in new])
        whole = data.rfind(b"\n") + 1
        self._rest = data[whole:]
        for choice in read_answer(data[:whole]).choices.values():
            said = [
                *choice.text,
                *choice.reasoning,
                *(each for call in choice.calls.values() for each in call.arguments),
            ]
            self._count += sum(map(len, said))
        return self._count
