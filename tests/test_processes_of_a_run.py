"""Files and messages that the processes of a distributed run of this suite share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.brief_workers import tell_less
from tests.support.rewriting import rewrite_a_share


def test_each_process_rewrites_its_share_of_the_modules(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    wrong = {"test_c": "def", "test_e": "def test_it():\n    assert (1, 'always true')\n"}
    pytester.makepyfile(**dict.fromkeys(("helper", "test_a", "test_b", "test_d"), "assert 1"), **wrong)
    config = pytester.parseconfigure()

    def rewritten() -> set[str]:
        return {path.name.partition(".")[0] for path in pytester.path.glob("__pycache__/*pytest*.pyc")}

    config.args = ["no_such_file.py", "test_b.py", "test_d.py::test_it"]
    rewrite_a_share(config, 0, 2)
    assert rewritten() == {"test_d"}
    config.args = ["."]
    rewrite_a_share(config, 1, 2)
    assert rewritten() == {"test_b", "test_d"}
    rewrite_a_share(config, 0, 2)  # errors in a module are reported when it is imported
    assert rewritten() == {"test_a", "test_b", "test_d"}


class WorkerInteractor:
    """What pytest-xdist has in each process that runs tests."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def sendevent(self, name: str, **told: Any) -> None:
        self.told.append(told["data"] if name == "testreport" else name)


@pytest.mark.parametrize("talkative", [False, True])
def test_only_the_call_of_a_passing_test_is_reported(pytester: pytest.Pytester, talkative: bool) -> None:
    config = pytester.parseconfigure(*["-v"] * talkative)
    worker = WorkerInteractor()
    config.pluginmanager.register(worker)
    tell_less(config)
    shown = [
        {"when": "call", "outcome": "passed", "duration": 0.0},
        {"when": "setup", "outcome": "skipped", "duration": 0.0},
        {"when": "teardown", "outcome": "failed", "duration": 0.0},
        {"when": "setup", "outcome": "passed", "duration": 1.0},
    ]
    for report in (*shown, brief := {"when": "setup", "outcome": "passed", "duration": 0.0}):
        worker.sendevent("testreport", data=report)
    for event in ("logstart", "logfinish", "runtest_protocol_complete"):
        worker.sendevent(event)
    left_out = [brief, "logstart", "logfinish"]
    assert [one for one in worker.told if one not in left_out] == [*shown, "runtest_protocol_complete"]
    assert [one for one in worker.told if one in left_out] == left_out * talkative
