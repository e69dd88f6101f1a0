"""Pytest's terminal for Aquila's lines: without secrets, and with characters that its encoding has."""

from __future__ import annotations

import pytest

from aquila.recording.secrets import outgoing
from pytest_aquila.summary import run_totals


class RedactedTerminal:
    """Writes Aquila's lines to pytest's terminal, without secrets and with characters that its encoding has."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal
        self._writer = terminal.config.get_terminal_writer()
        self.width: int = self._writer.fullwidth
        self._encoding: str = getattr(getattr(self._writer, "_file", None), "encoding", None) or "utf-8"

    def write_line(self, text: str, colour: str = "") -> None:
        """Write a line. ``colour`` is ``red``, ``yellow`` or empty."""
        self._terminal.write_line(self._clean(text), yellow=colour == "yellow", red=colour == "red")

    def write_between(self, text: str) -> None:
        """Write a line between the results of tests."""
        # Other reporters overwrite the line with the cursor, so only pytest's own gets the line without a line break.
        is_of_pytest = type(self._terminal).__module__ == "_pytest.terminal"
        if is_of_pytest and (self._terminal.showfspath or self._terminal.verbosity > 0):
            # Pytest adds its progress and ends the line itself, because its next result begins with a name.
            self._terminal.write_ensure_prefix(self._clean(text))
            return
        self.write_alone(text)

    def write_alone(self, text: str, colour: str = "") -> None:
        """Write a line, below the one with the cursor if that is not empty."""
        if self._writer.width_of_current_line:
            self._writer.line()
        self.write_line(text, colour)

    def _clean(self, text: str) -> str:
        """Return a text that the terminal can show.

        Pytest would escape the whole line, with the codes of its colour.
        """
        text = outgoing.redact_label(text)
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            text = text.replace("…", "...").encode(self._encoding, "backslashreplace").decode(self._encoding)
        except LookupError:
            pass
        return text


def show_sentence(config: pytest.Config, sentence: str) -> None:
    """Show a sentence at once, although pytest captures output. Those of a worker are shown in the summary."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        terminal.ensure_newline()  # with `-q` it does not end a line of dots
        RedactedTerminal(terminal).write_alone(f"aquila: {sentence}", "yellow")
    else:
        run_totals.totals_of(config).sentences.append(sentence)
