"""A consumer whose module makes the Huey and forgets the tasks: what it cannot run is kept, with the reason."""

import json
import subprocess
import sys

import pytest

from aquila.huey import SqliteHuey
from tests.huey.programs import START, environment_of, wait_until

HUEY = """
from aquila.huey import SqliteHuey

huey = SqliteHuey("app", filename={file!r})
"""
TASKS = """
from forgetful import huey

@huey.task()
def job(number):
    return number
"""


@pytest.mark.slow
def test_a_task_that_the_consumer_does_not_know_is_a_dead_letter_that_the_command_lists(tmp_path):
    (tmp_path / "forgetful.py").write_text(HUEY.format(file=str(tmp_path / "queue.db")))
    (tmp_path / "forgotten_tasks.py").write_text(TASKS)
    environment = environment_of(tmp_path)

    def run(*words):
        command, options = [sys.executable, *words], {"stdout": subprocess.PIPE, "text": True, "timeout": 240}
        return subprocess.run(command, env=environment, cwd=tmp_path, check=True, **options).stdout

    id = run("-c", "import forgotten_tasks; print(forgotten_tasks.job(7).id)").strip()
    huey = SqliteHuey("app", filename=str(tmp_path / "queue.db"))
    assert huey.pending_count() == 1
    consumer = [sys.executable, "-c", START, "forgetful.huey", "-n", "-w", "1", "-d", "0.01", "-m", "0.05"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(consumer, env=environment, cwd=tmp_path, stderr=log)
    try:
        wait_until(lambda: id in (tmp_path / "log").read_text(errors="replace") and not huey.pending_count())
        assert process.poll() is None  # It goes on with what others enqueue.
    finally:
        process.terminate()
        process.wait(240)
        huey.storage.close()
    listing = ["-m", "aquila", "dead-letters", "list", "--huey", "forgetful:huey"]
    assert "1 dead letter" in run(*listing)
    (row,) = json.loads(run(*listing, "--json"))
    assert (row["id"], row["kind"], row["task"]) == (id, "unknown", "forgotten_tasks.job")
    assert "no task 'forgotten_tasks.job': give huey_consumer the module that imports the tasks" in row["reason"]
