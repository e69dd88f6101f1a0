"""The hooks of a run that records everything or has a budget: they say how many requests it will send.

The workers of pytest-xdist share a folder with the controller, which makes it and removes it at the end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.cassettes.storage import cassette_files, names
from aquila.cassettes.storage.recorded_uses import read_uses
from aquila.errors import AquilaError, CassetteNameError
from aquila.option_parsing import read_budget
from aquila.plurals import count_of
from aquila.recording.sessions.session_decisions import EVERYTHING
from aquila.recording.storing.record_budget import RecordBudget, describe_budget
from aquila.temporary_folders import TemporaryFolder
from pytest_aquila import node_ids
from pytest_aquila.summary.run_extent import names_in_markers
from pytest_aquila.summary.run_news import News, NewsKind, add_news

if TYPE_CHECKING:
    from aquila.recording.runtime import Run
    from aquila.settings import Settings

_FOLDER = "aquila_recording"
_COUNT, _PLAN = "budget.json", "plan.txt"


def watch_recording(config: pytest.Config, run: Run, settings: Settings) -> None:
    """Let a recording run say how many requests it will send, and what is left of its budget."""
    if settings.record_budget is not None or settings.record in EVERYTHING:
        config.pluginmanager.register(RecordingPlan(config, run, settings))


class RecordingPlan:
    """A plugin of a recording run. ``settings`` are those of the run."""

    def __init__(self, config: pytest.Config, run: Run, settings: Settings) -> None:
        self._config = config
        self._run = run
        self._settings = settings
        self._count = run.state_of(RecordBudget)
        self._budget = read_budget(settings.record_budget) if settings.record_budget is not None else None
        worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self._is_worker = worker is not None
        if worker is None:
            folder = TemporaryFolder("recording")
            config.add_cleanup(folder.close)
            self._folder = folder.path
        else:
            self._folder = worker[_FOLDER]
        self._count.path = os.path.join(self._folder, _COUNT)
        self._has_announced = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send the path of the folder to a worker."""
        node.workerinput[_FOLDER] = self._folder

    # Before the tests: the number of requests.

    @pytest.hookimpl(tryfirst=True)  # before a worker tells the controller that it has collected
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say how many recordings the tests have; the first worker writes that into a file for the controller."""
        if self._settings.record not in EVERYTHING or session.config.getoption("collectonly", False):
            return
        if not self._is_worker:
            self._tell(self._plan_for(session.items))
        elif self._config.workerinput["workerid"] == "gw0":  # type: ignore[attr-defined]
            Path(self._folder, _PLAN).write_text(self._plan_for(session.items), encoding="utf-8")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Say how many recordings the first worker has counted."""
        plan = Path(self._folder, _PLAN)
        if plan.exists():
            self._tell(plan.read_text(encoding="utf-8"))

    def _tell(self, sentence: str) -> None:
        if sentence and not self._has_announced and self._run.tell is not None:
            self._has_announced = True
            self._run.tell(sentence)

    def _plan_for(self, items: Iterable[pytest.Item]) -> str:
        root = self._settings.cassette_root()
        paths = set()
        for name in cassettes_of(list(items), root):
            with contextlib.suppress(CassetteNameError):  # the test fails with the same error
                paths.add(names.cassette_path(root, name))
        counts = [count for path in paths if (count := _count_recordings(path))]
        number, files = sum(counts), len(counts)
        if not counts:
            return "every request will be sent and recorded; the tests have no recordings yet"
        plan = (
            f"about {count_of(number, 'request')} will be sent and recorded: the tests have "
            f"{count_of(number, 'recording')} in {count_of(files, 'cassette')}"
        )
        budget = self._budget
        if budget is None:
            return plan
        tight = budget[0] is not None and number > budget[0]
        return f"{plan}. The budget is {describe_limits(budget)}{', which is not enough' if tight else ''}"

    # During and after the tests: the budget.

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Stop the run when the budget has refused a request, because the next tests would fail too."""
        result = yield
        if self._count.is_exhausted:
            item.session.shouldstop = "aquila: the budget for recordings is spent"
        return result

    def pytest_terminal_summary(self, config: pytest.Config) -> None:
        """Say what is left of the budget."""
        budget = self._budget
        spent = self._count.spent() if budget is not None else None
        if budget is None or spent is None:
            return
        sums = describe_budget(budget, spent)
        if spent.exhausts(budget):
            text = f"the budget for recordings is spent: {sums} (aquila_record_budget)"
            lead, command = "To record as much again:", "pytest --aquila-record"
            if self._settings.record in EVERYTHING:  # such a run always begins with the first test
                lead, command = "To begin anew, raise the budget:", f"{command}={self._settings.record}"
            lead = f"What tests had finished is stored. {lead}"
            add_news(config, News(NewsKind.BUDGET_SPENT, text, lead=lead, command=command))
        else:
            add_news(config, News(NewsKind.BUDGET_LEFT, f"recorded {sums} of the budget"))


def describe_limits(budget: tuple[int | None, int | None]) -> str:
    """Return a budget as text, such as ``200 requests and 5,000 tokens``."""
    rows = zip(budget, ("request", "token"), strict=True)
    return " and ".join([count_of(limit, what) for limit, what in rows if limit is not None])


def cassettes_of(items: list[pytest.Item], root: Path) -> Iterator[str]:
    """Yield the names of the cassettes that tests use, as far as they are known before the tests run."""
    uses: dict[str, list[str]] = {}
    for cassette, test in read_uses(root):
        uses.setdefault(test, []).append(cassette)
    modules = set()
    for item in items:
        test = node_ids.id_of(item)
        modules.add(names.folder_of_module(test.partition("::")[0]))
        yield node_ids.own_cassette_name(item, test)
        yield from names_in_markers(item)
        yield from uses.get(test, ())
    for folder in modules:
        for path in cassette_files.find_cassette_files(root / folder) if folder and (root / folder).is_dir() else ():
            if path.parent == root / folder and "@" in path.name:  # of a fixture
                yield names.name_of_file(root, path)


def _count_recordings(path: Path) -> int:
    try:
        return len(cassette_files.load_cassette_or_empty(path).interactions)
    except (AquilaError, OSError):
        return 0
