"""Greenlets: ``async`` tasks, of which only one can run because all greenlets share a thread, and forks."""

import subprocess
import sys

import pytest

PROGRAM = """
import huey.storage  # as huey_consumer does before it imports the module that has the tasks
import warnings; warnings.simplefilter("ignore")  # of ssl, which Huey imports for Redis
from gevent import monkey; monkey.patch_all()
import asyncio, logging, psycopg
from aquila.huey import MemoryHuey

huey = MemoryHuey("greenlets")
begun = []

@huey.task()
async def job(number):
    begun.append(number)
    await asyncio.sleep(0.01)
    return number

logging.basicConfig(level=logging.WARNING, format="%(message)s")
results = [job(number) for number in range(4)]
consumer = huey.create_consumer(workers=4, worker_type="greenlet", periodic=False)
consumer._set_signal_handlers = lambda: None
consumer.start()
print(psycopg.waiting.wait.__name__, psycopg.waiting.DefaultSelector.__name__)
print(sorted(result.get(blocking=True, timeout=60) for result in results), sorted(begun))
consumer.stop(graceful=True)
"""


def test_greenlets_execute_async_tasks_one_after_the_other_and_a_consumer_says_so():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=100)
    # The ways that psycopg chooses otherwise, `wait_c` and `EpollSelector`, stop all greenlets.
    assert done.stdout == "wait_poll GeventSelector\n[0, 1, 2, 3] [0, 1, 2, 3]\n", done.stderr
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("__main__.job is async, and greenlets execute async tasks one after the other")


FORKING = """
from huey.bin import huey_consumer
from gevent import monkey
monkey.patch_all()
import os, sys, gevent
from aquila.huey import SqliteHuey

huey = SqliteHuey("app", filename=sys.argv[1])

def use():
    with huey.storage.db():
        gevent.sleep(0.1)

def fork():
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)

gevent.joinall([gevent.spawn(each) for each in (use, fork, fork)], raise_error=True)
with gevent.Timeout(30):
    huey.storage.enqueue(b"1")
print(huey.storage.enqueued_items())
"""


@pytest.mark.slow
def test_greenlets_may_fork_at_once_while_another_one_uses_the_database(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "queue.db")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.stdout == "[b'1']\n", done.stderr
