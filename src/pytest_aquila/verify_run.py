"""``--aquila-verify``: after the tests, send the replayed requests to the upstream, and report how answers differ.

This module is loaded only by a run that verifies. The tests replay as always; nothing is sent before they are over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.play_log import PlayLog
from aquila.verifying.planning import Sample, make_plan
from aquila.verifying.report import as_json, describe_verification
from aquila.verifying.verification import Verification, announce_plan, verify_answers
from pytest_aquila.report_writing.targets import write_json
from pytest_aquila.run_life import RUN, root_of
from pytest_aquila.summary.redacted_terminal import RedactedTerminal
from pytest_aquila.summary.run_extent import watch_extent
from pytest_aquila.summary.summary_layout import wrap_prose

EXIT_CRITICAL = 9
"""The exit code if all tests pass, but an answer has changed in a way that programs notice."""

EXIT_NOT_ASKED = 10
"""The exit code if all tests pass, but no request got an answer to compare, because of a key or the upstream."""

_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
"""The exit statuses of a session that was not interrupted, nor used wrongly."""

_VERIFICATION: pytest.StashKey[Verification] = pytest.StashKey()
_PLAYS = "aquila_plays"
_STEPS = 4
"""The number of progress lines in an output that cannot rewrite a line."""


def read_sample(config: pytest.Config) -> Sample:
    """Return the sample that the option names. Raises ``UsageError``."""
    text: str = config.option.aquila_verify
    try:
        return Sample.parse(text)
    except ValueError as error:
        raise pytest.UsageError(f"--aquila-verify={text}: {error}") from error


def _log_of(config: pytest.Config) -> PlayLog:
    log = config.stash[RUN].play_log
    if log is None:
        raise RuntimeError("a run with --aquila-verify has begun without a log of plays")
    return log


def _complete_log(config: pytest.Config) -> PlayLog:
    """Return the log of plays, with those of child processes until now."""
    log = _log_of(config)
    log.take_from_children(config.stash[RUN].state_of(ChildMessages))
    return log


def send_plays(config: pytest.Config) -> None:
    """Send the plays of a worker of pytest-xdist to the controller."""
    config.workeroutput[_PLAYS] = _complete_log(config).as_plain_data()  # type: ignore[attr-defined]


def take_plays(config: pytest.Config, output: Mapping[str, Any]) -> None:
    """Add the plays of a worker to those of the controller."""
    _log_of(config).add_plain_data(output.get(_PLAYS, ()))


def verify_session(session: pytest.Session) -> None:
    """Send the played requests again, show the progress, and set the exit code."""
    config = session.config
    if session.exitstatus not in _WHOLE or watch_extent(config).was_interrupted:
        return
    plan = make_plan(_complete_log(config).recordings(), read_sample(config))
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line("")  # ends the line with the progress of the tests
        RedactedTerminal(terminal).write_line(f"aquila: verify: {announce_plan(plan)}")
    progress = _VerifyProgress(terminal)
    verification = config.stash[_VERIFICATION] = verify_answers(plan, progress.tell)
    progress.end()
    report = as_json(verification, root_of(config))
    target = config.option.aquila_verify_json
    is_written = target is None or write_json(config, target, report)
    if verification.interrupted:
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    elif session.exitstatus == pytest.ExitCode.OK:
        if verification.is_critical:
            session.exitstatus = EXIT_CRITICAL
        elif verification.asked_in_vain:
            session.exitstatus = EXIT_NOT_ASKED
        elif not is_written:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR


class _VerifyProgress:
    """Tells how many questions were asked: in one line of a terminal that is rewritten, elsewhere in a few lines."""

    def __init__(self, terminal: pytest.TerminalReporter | None) -> None:
        self._terminal = terminal
        self._has_line = False

    def tell(self, asked: int, total: int) -> None:
        """Show how many of ``total`` questions were asked."""
        if self._terminal is None:
            return
        text = f"aquila: verify: {asked} of {total} asked"
        if self._terminal.isatty:
            self._terminal.rewrite(text, erase=True)
            self._has_line = True
        elif asked < total and asked * _STEPS // total > (asked - 1) * _STEPS // total:
            self._terminal.write_line(text)

    def end(self) -> None:
        """End the line that was rewritten."""
        if self._terminal is not None and self._has_line:
            self._terminal.write("\n")


def write_report(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the findings, or say that nothing was sent because the run ended early."""
    verification = config.stash.get(_VERIFICATION, None)
    terminal = RedactedTerminal(reporter)
    if verification is None:
        terminal.write_line("aquila: verify: nothing was asked, because the run ended early", "yellow")
        return
    for text, colour in describe_verification(verification, root_of(config)):
        for line in wrap_prose([f"aquila: verify: {text}"], terminal.width):
            terminal.write_line(line, colour)
