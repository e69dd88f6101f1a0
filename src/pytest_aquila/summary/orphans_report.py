"""The hooks of a run with ``--aquila-orphans``: they list the cassettes that no test used, and write the report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from aquila.recording import runtime
from pytest_aquila.report_writing import targets
from pytest_aquila.run_life import root_of
from pytest_aquila.summary import unused_cassettes
from pytest_aquila.summary.run_extent import watch_extent
from pytest_aquila.summary.run_news import Kind, News, add_news
from pytest_aquila.summary.unused_cassettes import UnusedCassette

NO_FILE = "-"
_MOST_REASONS = 5


class UnusedReport:
    """A plugin. ``used_cassettes`` returns the folders and names of the cassettes that the run has used."""

    def __init__(self, config: pytest.Config, used_cassettes: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._config = config
        self._used_cassettes = used_cassettes
        self._target = config.getoption("aquila_orphans")
        self._extent = watch_extent(config)

    def pytest_terminal_summary(self, config: pytest.Config) -> None:
        """List the unused cassettes, or say why that cannot be known, and write the report."""
        root = root_of(self._config)
        unused = unused_cassettes.find_unused(self._extent, set(self._used_cassettes()), root)
        partial = self._extent.why_partial()
        is_written = self._write_file(config, unused, root)
        if partial:
            add_news(config, _describe_partial(partial))
        else:
            add_news(config, *_describe_unused(unused, self._target if is_written else NO_FILE))

    def _write_file(self, config: pytest.Config, unused: list[UnusedCassette], root: Path) -> bool:
        """Write the report if a file was named. Return whether it was written."""
        if self._target == NO_FILE:
            return False
        problem = targets.write_json(config, self._target, unused_cassettes.make_report(self._extent, unused, root))
        if problem:
            add_news(config, News(Kind.FAILED_REPORT, problem))
        return not problem


def _describe_partial(reasons: Sequence[str]) -> News:
    more = "; …" if len(reasons) > _MOST_REASONS else ""
    return News(
        Kind.UNKNOWN_USE,
        f"this run does not show which cassettes no test uses: {'; '.join(reasons[:_MOST_REASONS])}{more}",
        lead="Run all tests:",
        command="pytest --aquila-orphans",
    )


def _describe_unused(unused: Sequence[UnusedCassette], target: str) -> Iterator[News]:
    """Yield the news about unused cassettes. ``target`` is the file of the report, or ``NO_FILE``."""
    usual = runtime.current_settings().cassette_root()
    kept = [one for one in unused if one.kept_because]
    lost = [os.path.relpath(one.path, usual) for one in unused if not one.kept_because]
    if lost:
        is_written = target != NO_FILE
        yield News(
            Kind.UNUSED,
            "no test used this cassette" if len(lost) == 1 else f"no test used {len(lost):,} cassettes",
            lost,
            command=f"aquila cassettes prune --orphans {shlex.quote(target)}" if is_written else "",
            lead="To remove it:" if len(lost) == 1 and is_written else "To remove them:" if is_written else "",
        )
    if kept:
        what = "this cassette, and it is" if len(kept) == 1 else f"{len(kept):,} cassettes, and they are"
        names = [f"{os.path.relpath(one.path, usual)}: {one.kept_because}" for one in kept]
        yield News(Kind.KEPT_UNUSED, f"no test used {what} kept", names)
