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

@huey.task(retries=1, retry_delay=30)
def early():
    try: return aquila.ask("Early?").text
    except aquila.errors.RateLimited: raise ValueError

@huey.task()
def other(): ...

import pytest

@pytest.fixture
def aquila_huey(): return huey

@pytest.mark.parametrize("how", ["with_scheduled", "with_time_skipping"])
@pytest.mark.parametrize("job", ["patient", "hasty"])
def test_job(aquila_drain_queue, aquila_script, job, how):
    aquila_script.reply("yes")
    globals()[job]()
    assert aquila_drain_queue(**{how: True})["complete"] == 1

@pytest.mark.parametrize("how", ["with_scheduled", "with_time_skipping"])
def test_job_beside_others(aquila_drain_queue, aquila_script, how):
    aquila_script.reply("yes")
    early(), other.schedule(delay=25), other.schedule(delay=29)
    assert aquila_drain_queue(**{how: True})["complete"] == 3

def test_performed(aquila_perform_job, aquila_all_enqueued, aquila_script):
    aquila_script.reply("yes")
    run = aquila_perform_job(patient)
    for task in aquila_all_enqueued():
        run = aquila_perform_job(task)
    assert run.value == "yes"
"""


def test_a_job_that_comes_back_when_the_provider_said_has_not_ignored_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    report = pytester.path / "report.json"
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
    pytester.runpytest_subprocess(
        *options, "--aquila-faults=rate_limit(retry_after=60)", f"--aquila-faults-json={report}"
    )
    found = {
        run["test"].partition("::test_")[2]: (run["verdict"], [finding["name"] for finding in run["findings"]])
        for run in json.loads(report.read_text())["runs"]
    }
    assert found == {
        "job[patient-with_scheduled]": ("held", []),
        "job[patient-with_time_skipping]": ("held", []),
        "job[hasty-with_scheduled]": ("held", ["ignored_retry_after"]),
        "job[hasty-with_time_skipping]": ("held", ["ignored_retry_after"]),
        "job_beside_others[with_scheduled]": ("held", ["ignored_retry_after"]),
        "job_beside_others[with_time_skipping]": ("held", ["ignored_retry_after"]),
        "performed": ("held", []),
    }
