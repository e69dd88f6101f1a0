"""Unique jobs while their workers are killed: none is lost, and none is let in beside another."""

import os
import random
import subprocess
import sys
import threading

import pytest
import redis

from aquila.huey import RedisHuey, is_conflict

JOBS = """
import os, random, time
import redis
from aquila.huey import RedisHuey, current_task

huey = RedisHuey("killed", url=os.environ["QUEUE_URL"], keep_running=True, lost_after=2.0)
notes = redis.Redis.from_url(os.environ["QUEUE_URL"])

@huey.task(unique=True, name="work")
def work(key):
    notes.rpush(f"notes:{key}", f"begin {current_task().id}")
    time.sleep(random.uniform(0.01, 0.1))
    notes.rpush(f"notes:{key}", f"end {current_task().id}")
"""
KILLS = 4


@pytest.mark.slow
def test_of_identical_jobs_one_is_let_in_at_a_time_and_none_is_lost(redis_url, tmp_path):
    (tmp_path / "killed_jobs.py").write_text(JOBS)
    huey = RedisHuey("killed", url=redis_url, keep_running=True, lost_after=2.0)
    notes, chance, pause = redis.Redis.from_url(redis_url), random.Random(1), threading.Event()

    @huey.task(unique=True, name="work")
    def work(key):
        raise AssertionError("a worker's task")

    work.task_class.__module__ = "killed_jobs"
    huey._registry.unregister(work.task_class)
    huey._registry.register(work.task_class)

    def start():
        command = [sys.executable, "-m", "huey.bin.huey_consumer", "killed_jobs.huey", "-w", "2", "-n", "-d", ".02"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "QUEUE_URL": redis_url}
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def noted(key):
        return [note.decode() for note in notes.lrange(f"notes:{key}", 0, -1)]

    workers, admitted, kills, begun = [start(), start()], {key: [] for key in range(4)}, 0, 0
    try:
        while kills < KILLS:
            key = chance.choice(list(admitted))
            result = work(key)
            if not is_conflict(result):
                if admitted[key]:
                    assert f"end {admitted[key][-1]}" in noted(key), "let in beside another"
                admitted[key].append(result.id)
            pause.wait(0.01)
            now = sum(len(noted(key)) for key in admitted)
            if now >= begun + 6:  # something has been done since the last kill
                begun, kills = now, kills + 1
                killed = workers.pop(0)
                killed.kill()
                killed.wait()
                workers.append(start())
        for _ in range(3000):
            if all(f"end {ids[-1]}" in noted(key) for key, ids in admitted.items() if ids):
                break
            pause.wait(0.1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for key, ids in admitted.items():
        seen = noted(key)
        assert all(f"end {id}" in seen for id in ids)
        order = [note.split()[1] for note in seen]
        assert [id for at, id in enumerate(order) if id not in order[:at]] == ids  # one after the other
