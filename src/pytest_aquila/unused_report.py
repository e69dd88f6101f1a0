"""The hooks of a run with ``--aquila-orphans``: lists the cassettes that no test used, and writes the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from aquila.recording import runtime
from pytest_aquila import reporting, unused_cassettes
from pytest_aquila.root_folder import root_of
from pytest_aquila.run_extent import RunExtent
from pytest_aquila.unused_cassettes import UnusedCassette

NO_FILE = "-"
_MOST_REASONS = 5
_MOST_KEPT = 10


class UnusedReport:
    """A plugin. ``used_cassettes`` returns the folders and names of the cassettes that the run has used."""

    def __init__(self, config: pytest.Config, used_cassettes: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._config = config
        self._used_cassettes = used_cassettes
        self._target = config.getoption("aquila_orphans")
        self._extent = RunExtent(config)
        config.pluginmanager.register(self._extent)
        self._is_worker = hasattr(config, "workerinput")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send what a worker knows to the controller."""
        if self._is_worker:
            session.config.workeroutput["aquila_extent"] = self._extent.as_plain_data()  # type: ignore[attr-defined]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the unused cassettes, or say why that cannot be known, and write the report."""
        root = root_of(self._config)
        used = sorted(set(self._used_cassettes()))
        folders = {runtime.current_settings().cassette_root(), *(Path(folder) for folder, _ in used)}
        unused = unused_cassettes.find_unused(self._extent, used, folders, root)
        terminal = reporting.CleanTerminal(terminalreporter)
        partial = self._extent.why_partial()
        if partial:
            more = "; …" if len(partial) > _MOST_REASONS else ""
            terminal.write_line(
                f"aquila: this run does not show which cassettes no test uses: {'; '.join(partial[:_MOST_REASONS])}"
                f"{more}. Run all tests: pytest --aquila-orphans",
                yellow=True,
            )
        else:
            self._write_unused(terminal, unused)
        if self._target != NO_FILE:
            path = Path(self._config.invocation_params.dir, self._target)
            try:
                unused_cassettes.write_report(path, unused_cassettes.make_report(self._extent, unused, root))
            except OSError as error:
                terminal.write_line(f"aquila: {path}: the report was not written: {error.strerror}", red=True)
                return
            if not partial and not all(one.kept_because for one in unused):
                terminal.write_line(f"aquila: to remove them: aquila cassettes prune --orphans {self._target}")

    def _write_unused(self, terminal: reporting.CleanTerminal, unused: list[UnusedCassette]) -> None:
        usual = runtime.current_settings().cassette_root()
        kept = [one for one in unused if one.kept_because]
        for one in unused:
            if not one.kept_because:
                terminal.write_line(f"aquila: no test used {os.path.relpath(one.path, usual)}", yellow=True)
        for one in kept[:_MOST_KEPT]:
            shown = os.path.relpath(one.path, usual)
            terminal.write_line(f"aquila: no test used {shown}, and it is kept: {one.kept_because}")
        if len(kept) > _MOST_KEPT:
            terminal.write_line(f"aquila: {len(kept) - _MOST_KEPT} more are kept; --aquila-orphans=FILE.json has them")
