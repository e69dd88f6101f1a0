"""``pytest --aquila-faults`` on tests of jobs, whose waits ``drain_queue`` leaves out."""

from __future__ import annotations

import json
import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TEST = """
import aquila
from aquila.huey import MemoryHuey, Rescheduling

huey = MemoryHuey("jobs", rescheduling=Rescheduling(jitter=0))

@huey.task()
def patient(): return aquila.ask("Patient?").text

@huey.task()
def hasty():
    try: return aquila.ask("Hasty?").text
    except aquila.errors.RateLimited: return aquila.ask("Hasty?").text

import pytest

@pytest.fixture
def aquila_huey(): return huey

@pytest.mark.parametrize("how", ["with_scheduled", "with_time_skipping"])
@pytest.mark.parametrize("job", ["patient", "hasty"])
def test_job(aquila_drain_queue, aquila_script, job, how):
    aquila_script.reply("yes")
    globals()[job]()
    assert aquila_drain_queue(**{how: True})["complete"] == 1
"""


def test_a_job_that_comes_back_when_the_provider_said_has_not_ignored_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    report = pytester.path / "report.json"
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
    pytester.runpytest_subprocess(
        *options, "--aquila-faults=rate_limit(retry_after=60)", f"--aquila-faults-json={report}"
    )
    found = {
        run["test"].partition("[")[2]: (run["verdict"], [finding["name"] for finding in run["findings"]])
        for run in json.loads(report.read_text())["runs"]
    }
    assert found == {
        "patient-with_scheduled]": ("held", []),
        "patient-with_time_skipping]": ("held", []),
        "hasty-with_scheduled]": ("held", ["ignored_retry_after"]),
        "hasty-with_time_skipping]": ("held", ["ignored_retry_after"]),
    }
