"""The hooks of a run with ``--aquila-orphans``: they list the cassettes that no test used, and write the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aquila.recording import runtime
from aquila.shell_words import path_from, quote_word
from pytest_aquila import test_scopes
from pytest_aquila.report_writing import targets
from pytest_aquila.run_life import root_of
from pytest_aquila.summary import unused_cassettes
from pytest_aquila.summary.run_extent import watch_extent
from pytest_aquila.summary.run_news import News, NewsKind, add_news
from pytest_aquila.summary.unused_cassettes import UnusedCassette

NO_FILE = "-"
_MOST_REASONS = 5


class UnusedReport:
    """A plugin of each process of a run with ``--aquila-orphans``."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._target = config.getoption("aquila_orphans")
        self._extent = watch_extent(config)

    @pytest.hookimpl(trylast=True)  # behind the hook that completes the totals
    def pytest_sessionfinish(self) -> None:
        """Write the report, also where no terminal shows a summary, and note the news for that."""
        config = self._config
        if hasattr(config, "workerinput"):
            return
        totals, root = config.stash.get(test_scopes.TOTALS, None), root_of(config)
        unused = unused_cassettes.find_unused(self._extent, totals, root)
        partial = self._extent.why_partial()
        is_written = self._target != NO_FILE and targets.write_json(
            config, self._target, unused_cassettes.make_report(self._extent, unused, root)
        )
        if partial:
            add_news(config, _describe_partial(partial))
        else:
            add_news(config, *_describe_unused(unused, self._target if is_written else NO_FILE))


def _describe_partial(reasons: Sequence[str]) -> News:
    more = "; …" if len(reasons) > _MOST_REASONS else ""
    return News(
        NewsKind.UNKNOWN_USE,
        f"this run does not show which cassettes no test uses: {'; '.join(reasons[:_MOST_REASONS])}{more}",
        lead="Run all tests:",
        command="pytest --aquila-orphans",
    )


def _describe_unused(unused: Sequence[UnusedCassette], target: str) -> Iterator[News]:
    """Yield the news about unused cassettes. ``target`` is the file of the report, or ``NO_FILE``."""
    settings = runtime.current_settings()
    usual = settings.cassette_root()

    def name_of(path: Path) -> str:
        return path_from(usual if path.is_relative_to(usual) else settings.root, path)

    kept = [one for one in unused if one.kept_because]
    lost = [name_of(one.path) for one in unused if not one.kept_because]
    if lost:
        what, it = ("this cassette", "it") if len(lost) == 1 else (f"{len(lost):,} cassettes", "them")
        news = News(NewsKind.UNUSED, f"no test used {what}", lost)
        if target != NO_FILE:
            command = f"aquila cassettes prune --orphans {quote_word(target)}"
            news = news._replace(command=command, lead=f"To remove {it}:")
        yield news
    if kept:
        what = "this cassette, and it is" if len(kept) == 1 else f"{len(kept):,} cassettes, and they are"
        names = [f"{name_of(one.path)}: {one.kept_because}" for one in kept]
        yield News(NewsKind.KEPT_UNUSED, f"no test used {what} kept", names)
