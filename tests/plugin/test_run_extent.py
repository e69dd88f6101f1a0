"""What a run notes of its tests, so that it can say whether they were all tests of the project."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_aquila import test_scopes
from pytest_aquila.summary.run_extent import PlannedTest, RunExtent, names_in_markers

TEST = PlannedTest("test_app.py::test_it", "test_app.py::test_it", "test_app/test_it", ("named",))


def make_extent(transport: str = "replay", **options: object) -> RunExtent:
    """The extent of a run with these options, and no paths."""
    run = SimpleNamespace(layers=SimpleNamespace(resolve=lambda: SimpleNamespace(transport=transport)))
    config: Any = SimpleNamespace(
        getoption=options.get,
        ArgsSource=pytest.Config.ArgsSource,
        args_source=pytest.Config.ArgsSource.TESTPATHS,
        stash={test_scopes.RUN: run},
    )
    return RunExtent(config)


def tell(controller: RunExtent, worker: dict[str, Any]) -> None:
    """Let a worker of pytest-xdist tell its controller what it noted."""
    controller.pytest_configure_node()
    controller.pytest_testnodedown(
        SimpleNamespace(workeroutput={"aquila_extent": json.loads(json.dumps(worker))}), None
    )


@pytest.mark.parametrize(
    ("reports", "outcome"),
    [
        ("setup passed, call passed, teardown passed", "passed"),
        ("setup passed, call passed", "not run"),
        ("setup passed, call failed, teardown passed", "failed"),
        ("setup passed, call passed, teardown failed", "failed"),
        ("setup skipped, teardown passed", "skipped"),
        ("setup passed, call skipped xfail, teardown passed", "xfailed"),
        ("setup passed, call passed xfail, teardown passed", "xpassed"),
        # as pytest-rerunfailures and pytest-retry run it again
        ("setup passed, call rerun, teardown passed, setup passed, call passed, teardown passed", "passed"),
        ("setup failed, teardown passed, setup passed, call passed, teardown passed", "passed"),
        ("setup passed, call retried, call passed, teardown passed", "passed"),
    ],
)
def test_the_outcome_of_a_test_is_that_of_its_last_run_and_of_the_first_phase_that_did_not_pass(
    reports: str, outcome: str
) -> None:
    extent = make_extent()
    for when, result, *xfail in map(str.split, reports.split(", ")):
        row: Any = SimpleNamespace(nodeid=TEST.node, when=when, outcome=result, passed=result == "passed")
        if xfail:
            row.wasxfail = ""
        extent.pytest_runtest_logreport(row)
    assert (extent.outcome_of(TEST), extent.passed(TEST)) == (outcome, outcome == "passed")


@pytest.mark.parametrize(
    ("transport", "options", "reasons"),
    [
        ("replay", {}, []),
        ("record", {}, []),
        ("live", {}, ["it did not go through cassettes"]),
        ("replay", {"disable_recording": True}, ["it did not go through cassettes"]),
        ("replay", {"disable_vcr": True}, ["it did not go through cassettes"]),
        ("replay", {"keyword": "x"}, ["-k was given"]),
        ("replay", {"override_ini": ["python_files = a*.py", "aquila_unused=ignore"]}, ["-o python_files was given"]),
    ],
)
def test_options_that_leave_tests_out_make_a_run_partial(
    transport: str, options: dict[str, object], reasons: list[str]
) -> None:
    assert make_extent(transport, **options).why_partial() == [*reasons, "there was no test"]


def test_the_cassettes_in_the_markers_of_a_test_are_those_of_aquila_and_of_pytest_recording() -> None:
    ours, theirs = SimpleNamespace(args=("jobs/a",), kwargs={}), SimpleNamespace(args=("b.yaml",), kwargs={})
    given = SimpleNamespace(args=(), kwargs={"cassette": "c"})
    markers = {"aquila": [ours, given], "default_cassette": [theirs]}
    item: Any = SimpleNamespace(iter_markers=markers.get)
    assert list(names_in_markers(item)) == ["jobs/a", "c", "b"]


def test_a_controller_knows_what_its_workers_noted(pytester: pytest.Pytester) -> None:
    worker = make_extent()
    skipped: Any = SimpleNamespace(failed=False, skipped=True, nodeid="test_skipped.py")
    worker.pytest_collectreport(skipped)
    item = pytester.getitem("def test_it(tmp_path): pass", "test_it")
    session: Any = SimpleNamespace(items=[item])
    worker.pytest_collection_finish(session)
    worker.pytest_internalerror()
    controller = make_extent()
    tell(controller, worker.as_plain_data())
    assert controller.skipped_modules == {"test_skipped.py"}
    assert "tmp_path" in controller.fixtures
    assert controller.planned == worker.planned
    assert [test.node for test in controller.planned] == [item.nodeid]
    assert controller.why_partial() == ["pytest failed", "1 of 1 tests did not run"]


def test_a_worker_that_tells_nothing_makes_a_run_partial() -> None:
    controller = make_extent()
    told = {**make_extent().as_plain_data(), "planned": [list(TEST)]}
    tell(controller, told)
    row: Any = SimpleNamespace(nodeid=TEST.node, when="teardown", outcome="passed")
    controller.pytest_runtest_logreport(row)
    assert controller.why_partial() == []
    controller.pytest_configure_node()
    assert controller.why_partial() == ["a worker reported nothing about its tests"]
