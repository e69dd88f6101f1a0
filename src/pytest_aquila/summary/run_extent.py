"""The extent of a run: its tests, their outcomes, and whether they were all tests of the project.

Only a run of all tests shows which cassettes no test uses. A run is partial if anything leaves a test out: an option, a
plugin, a path, an error, or an early end.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_aquila import node_ids, options, test_scopes
from pytest_aquila.run_life import root_of

_CHOOSING = {
    "keyword": "-k",
    "markexpr": "-m",
    "deselect": "--deselect",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "lf": "--last-failed",
    "stepwise": "--stepwise",
    "collectonly": "--collect-only",
    "setuponly": "--setup-only",
    "setupplan": "--setup-plan",
}
"""Options by which a run leaves tests out, or does not run them."""

_COLLECTING = frozenset(
    {"collect_imported_tests", "norecursedirs", "python_classes", "python_files", "python_functions", "testpaths"}
)
"""Settings of the ini file that say what is collected."""

_INTERRUPTED = "it was interrupted"

_SENT = "aquila_extent"
"""The key in the output of workers for their extent."""


def watch_extent(config: pytest.Config) -> RunExtent:
    """Return the plugin that notes the extent of a run. All reports of the run share it."""
    extent: RunExtent | None = config.pluginmanager.get_plugin(RunExtent.__name__)
    if extent is None:
        extent = RunExtent(config)
        config.pluginmanager.register(extent, RunExtent.__name__)
    return extent


class PlannedTest(NamedTuple):
    """A test of the run. ``node`` is pytest's id of it, and ``name`` the one that is relative to the root folder.

    ``cassette`` is the name of its own, and ``named`` are those that its markers give.
    """

    node: str
    name: str
    cassette: str
    named: tuple[str, ...]


class RunExtent:
    """A plugin that notes the extent of a run. The controller of pytest-xdist joins that of its workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reasons: dict[str, None] = {}
        self._planned: dict[str, PlannedTest] = {}
        self._outcomes: dict[str, str] = {}
        self._ended: set[str] = set()
        self._workers, self._heard_of = 0, 0
        self._collected: list[pytest.Item] = []
        self.skipped_modules: set[str] = set()
        self.fixtures: set[str] = set()
        """The names of all fixtures that tests of the run use."""

    # Collection.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, object, object]:
        """Note the collected tests before plugins deselect any. ``pytest_collection_finish`` clears the list."""
        self._collected = [*items]
        return (yield)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Notice tests that are deselected at other times."""
        if items:
            self._reasons["tests were deselected"] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notice modules that cannot be collected, or skip themselves."""
        if report.failed:
            self._reasons["not everything could be collected"] = None
        elif report.skipped:
            self.skipped_modules.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the tests, and notice those that were left out by any plugin in any way."""
        there = set(map(id, session.items))  # not the tests: their hashes change with their ids, as plugins do
        left_out = sum(id(item) not in there for item in self._collected)
        if left_out:
            self._reasons[f"{left_out} collected tests were left out"] = None
        self._collected.clear()
        for item in session.items:
            name = node_ids.id_of(item)
            own = node_ids.own_cassette_name(item, name)
            self.fixtures.update(getattr(item, "fixturenames", ()))
            self._planned[item.nodeid] = PlannedTest(item.nodeid, name, own, tuple(names_in_markers(item)))

    # Outcomes.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test. A phase that did not pass decides it."""
        if report.outcome not in ("passed", "failed", "skipped"):
            return  # "rerun": the test runs again
        if report.when == "teardown":
            self._ended.add(report.nodeid)
        outcome = str(report.outcome)
        if hasattr(report, "wasxfail"):
            outcome = "xpassed" if report.passed else "xfailed"
        if report.when == "setup" or self._outcomes.get(report.nodeid, "passed") == "passed":
            self._outcomes[report.nodeid] = outcome

    def pytest_keyboard_interrupt(self) -> None:
        """Notice that the run ends early, by Ctrl-C or ``pytest.exit``."""
        self._reasons[_INTERRUPTED] = None

    def pytest_internalerror(self) -> None:
        """Notice that pytest itself has failed."""
        self._reasons["pytest failed"] = None

    # Workers of pytest-xdist.

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the extent of a worker to the controller."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_SENT] = self.as_plain_data()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self) -> None:
        """Count the workers."""
        self._workers += 1

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Add the extent of a worker, or notice that it has crashed."""
        sent = getattr(node, "workeroutput", {}).get(_SENT)
        if error or sent is None:
            self._reasons["a worker crashed"] = None
        if sent is not None:
            self._heard_of += 1
            self._reasons.update(dict.fromkeys(sent["reasons"]))
            self.skipped_modules.update(sent["skipped_modules"])
            self.fixtures.update(sent["fixtures"])
            for node_id, name, own, named in sent["planned"]:
                self._planned[node_id] = PlannedTest(node_id, name, own, tuple(named))

    def as_plain_data(self) -> dict[str, Any]:
        """Return what a worker sends."""
        return {
            "reasons": list(self._reasons),
            "skipped_modules": sorted(self.skipped_modules),
            "fixtures": sorted(self.fixtures),
            "planned": [list(test) for test in self._planned.values()],
        }

    # Results.

    @property
    def was_interrupted(self) -> bool:
        """Whether the run ended early, by Ctrl-C or ``pytest.exit``, which chooses the exit status, also 0."""
        return _INTERRUPTED in self._reasons

    @property
    def planned(self) -> Sequence[PlannedTest]:
        """The tests of the run."""
        return list(self._planned.values())

    def outcome_of(self, test: PlannedTest) -> str:
        """``passed``, ``failed``, ``skipped``, ``xfailed``, ``xpassed``, or ``not run``."""
        return self._outcomes.get(test.node, "not run") if test.node in self._ended else "not run"

    def passed(self, test: PlannedTest) -> bool:
        """Whether a test ran and simply passed. ``xpassed`` does not count."""
        return self.outcome_of(test) == "passed"

    def why_partial(self) -> list[str]:
        """Return the reasons why this was not a run of all tests; an empty list if it was one."""
        reasons = [*_reasons_of_options(self._config), *self._reasons]
        if self._heard_of < self._workers:
            reasons.append("a worker reported nothing about its tests")
        if not self._planned:
            reasons.append("there was no test")
        missing = sum(self.outcome_of(test) == "not run" for test in self.planned)
        if missing:
            reasons.append(f"{missing} of {len(self._planned)} tests did not run")
        return list(dict.fromkeys(reasons))


def _reasons_of_options(config: pytest.Config) -> Iterator[str]:
    for name, option in _CHOOSING.items():
        if config.getoption(name, None):
            yield f"{option} was given"
    for setting in config.getoption("override_ini", None) or ():
        name = setting.partition("=")[0].strip()
        if name in _COLLECTING:
            yield f"-o {name} was given"
    if config.args_source is config.ArgsSource.ARGS:
        yield "paths or tests were given"
    elif config.args_source is config.ArgsSource.INVOCATION_DIR:
        started = Path(config.invocation_params.dir).resolve()
        if started != root_of(config).resolve():
            yield f"it was started in {started.name}, below the root folder"
    transport = config.stash[test_scopes.RUN].layers.resolve().transport
    live = any(config.getoption(name, False) for name in ("disable_recording", "disable_vcr"))
    if transport not in ("replay", "record") or live:
        yield "it did not go through cassettes"


def names_in_markers(item: pytest.Item) -> Iterator[str]:
    """Yield the names of cassettes that the markers of a test give."""
    for marker in (*item.iter_markers(options.MARKER), *item.iter_markers("default_cassette")):
        name = marker.kwargs.get("cassette", marker.args[0] if marker.args else None)
        if isinstance(name, str):
            yield name.removesuffix(".yaml")
