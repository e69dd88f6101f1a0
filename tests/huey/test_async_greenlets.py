"""``async`` tasks in greenlets: only one event loop can run in a thread, and all greenlets share one."""

import subprocess
import sys

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
