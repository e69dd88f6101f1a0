"""What the report of a run tells of the executions of tasks."""

from types import SimpleNamespace

import pytest
from huey.exceptions import RetryTask

from aquila.huey import current_task
from aquila.huey.testing import drain_queue
from aquila.recording import runtime

KEY = "sk-proj-q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEuR5iO0xQ"


@pytest.fixture
def jobs():
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.current_run(), "exchange_watch", SimpleNamespace(take_job=told.append))
        yield told


def test_an_execution_is_told_without_the_secrets_of_its_arguments_and_error(huey, jobs):
    @huey.task(retries=1, retry_delay=7, retry_backoff=2)
    def job(place, password):
        raise ValueError(f"{KEY} does not fit {password}")

    result = job("Rome", password="hunter2hunter2")
    drain_queue(with_scheduled=True, raise_errors=False)
    assert [(told["id"], told["number"], told["outcome"], told.get("delay")) for told in jobs] == [
        (result.id, 1, "error", 7.0),
        (result.id, 2, "error", None),
    ]
    for told in jobs:
        assert "Rome" in told["arguments"]
        assert "does not fit" in told["error"]
        assert not [secret for secret in (KEY, "hunter2hunter2") if secret in str(told)]


def test_a_retry_comes_when_the_task_asks_for_it(huey, jobs):
    @huey.task(retry_delay=7)
    def job():
        if not jobs:
            raise RetryTask(delay=60)

    job()
    drain_queue(with_scheduled=True)
    assert [told.get("delay") for told in jobs] == [60.0, None]


def test_an_attempt_within_another_one_is_told_with_an_outcome_of_its_own(huey, jobs):
    huey.immediate = True

    @huey.task(retries=2)
    def job():
        attempt = current_task().attempt
        if attempt < 3:
            raise ValueError(f"attempt {attempt}") if attempt == 1 else RetryTask(delay=60)

    job()
    assert [(told["number"], told["outcome"], told["delay"]) for told in jobs] == [
        (2, "retry", 60.0),
        (1, "error", 0.0),
    ]
    assert "attempt 1" in jobs[1]["error"]
