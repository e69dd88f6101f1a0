"""A line at the bottom of a terminal while one answer takes long to record: of which test and model, for how long.

It stands below the line that pytest writes, and is gone before pytest writes again. Nothing is written where nobody
looks: in pipes, in CI, by workers, with ``-q`` and ``-s``.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from aquila.recording.answers_in_progress import AnswerInProgress, AnswersInProgress
from aquila.run_report.answers import read_answer
from aquila.wire_forms.table import read_sent
from pytest_aquila import run_news

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
    if config.getoption("dist", "no") != "no" or config.getoption("capture", "fd") == "no":
        return False
    if config.get_verbosity() < 0 or config.getoption("log_cli_level", None) or config.getoption("usepdb", False):
        return False
    return not config.pluginmanager.is_blocked("terminal")


class RecordingStatus:
    """A plugin that draws the line, in a thread of its own."""

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self._config = config
        self._run = run
        self._answers = AnswersInProgress()
        self._test = ""
        self._lock = threading.Lock()
        self._column: int | None = None
        """Where pytest's own line ended, while the line is shown below it."""
        self._terminal: int | None = None
        self._encoding = "ascii"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._counts: dict[int, Count] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin with the first test; remember which one runs."""
        self.hide()
        self._test = run_news.clean_text(nodeid)
        if self._thread is None and self._open_terminal():
            self._run.answers_in_progress = self._answers
            self._thread = threading.Thread(target=self._draw_on, name="aquila-status", daemon=True)
            self._thread.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Make room for the result of a test. What it still records is no news of the next."""
        if report.when == "teardown":
            self._answers.clear()
            self._counts.clear()
        self.hide()

    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(self) -> None:
        """Make room for a debugger."""
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
            try:
                text = self._describe(slow) if slow else ""
            except Exception:  # noqa: BLE001 - whatever an answer says, the run goes on
                text = ""
            if text:
                self._show(text)
            else:
                self.hide()

    def _describe(self, slow: list[AnswerInProgress]) -> str:
        first = slow[0]
        sent = read_sent(first.asked)
        what = [urlsplit(first.asked.url).hostname or "", sent.model]
        named = run_news.clean_text(" ".join(" ".join(filter(None, what)).split()))[:_LONGEST_NAME]
        parts = [named, f"{time.monotonic() - first.began:.0f} s"]
        count = self._counts.setdefault(id(first), Count()).update(first)
        parts += [f"{count:,} characters"] if count else []
        parts += [f"and {len(slow) - 1} more"] if len(slow) > 1 else []
        return f"{self._test}  " + "  ".join(parts)

    def _show(self, text: str) -> None:
        with self._lock:
            if self._ended.is_set() or not self._answers.find_slow(SHOWN_AFTER):
                return
            writer = self._config.get_terminal_writer()
            room = writer.fullwidth - len("  recording ") - 1
            shown = text if len(text) <= room else f"…{text[len(text) - room + 1 :]}"
            if self._column is None:
                self._column = writer.width_of_current_line
                lead = "\n\r"
            else:
                lead = "\r\x1b[K"
            self._write(f"{lead}  recording {shown}")

    def hide(self) -> None:
        """Take the line away, and put the cursor where pytest had left it."""
        with self._lock:
            if self._column is not None:
                back = f"\x1b[{self._column}C" if self._column else ""
                self._write(f"\r\x1b[K\x1b[A\r{back}")
            self._column = None

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

    def __init__(self) -> None:
        self._read = 0
        self._rest = b""
        self._count = 0

    def update(self, answer: AnswerInProgress) -> int:
        """Read what has come since the last call, and return the count."""
        chunks = answer.arrived
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
