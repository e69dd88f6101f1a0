"""Consumers that are programs of their own, and the tasks that a test enqueues for them."""

import contextlib
import os
import subprocess
import sys
import time

START = "from huey.bin.huey_consumer import consumer_main; consumer_main()"
"""The code of a consumer. Huey's own arguments follow."""
PATIENCE = 240  # Seconds: what is waited for would never come otherwise.


def environment_of(folder):
    """Return the environment of a program that imports the modules in a folder, and what this process can import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def declare_for_program(huey, module, *tasks):
    """Give tasks, of which only the messages are needed here, the names that they have in the module of a program."""
    for task in tasks:
        task.task_class.__module__ = module
    huey._registry._registry = {f"{module}.{task.task_class.__name__}": task.task_class for task in tasks}


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@contextlib.contextmanager
def racing(count, *command, **options):
    """Start programs in Python, and let them go on at once when each has written "ready" and waits for a line.

    Yields them. They are killed at the end of the block.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen([sys.executable, *command], **pipes, **options) for _ in range(count)]
    try:
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * count
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        yield racers
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
