"""Context variables, while the garbage collector runs finalizers that set one too."""

import os
import subprocess
import sys

PROGRAM = """
import gc, sys, threading
from contextvars import ContextVar

from aquila.recording import askers, replayed_time_limits, runtime, scope
from aquila.transports import own_requests
from aquila.transports.routes.route import Route

others = ContextVar("others", default=None)
seen = set()


class Stream:
    def __init__(self):
        self.itself = self  # only the garbage collector finds it

    def __del__(self):
        others.set(object())


def collect_while_set(frame, event, function):
    variable = getattr(function, "__self__", None)
    if not isinstance(variable, ContextVar) or variable is others or function.__name__ != "set":
        return
    if event == "c_call":
        seen.add(variable.name)
        Stream()
        gc.set_threshold(objects)
        gc.enable()  # it runs at one of the next objects, which `set` makes
    else:
        gc.disable()
        gc.collect()


def use():
    global objects
    asker, route = runtime.Asker("a test", is_test=True), Route.__new__(Route)
    limit = replayed_time_limits.TimeLimit("task", 60.0, RuntimeError)
    others.set(1)
    gc.disable()
    gc.collect()
    sys.setprofile(collect_while_set)
    for objects in range(1, 8):
        with askers.working_for(asker), route.activate(limit), own_requests.own_request():
            scope.bind_scope(scope.bind_scope(object()))
        own_requests._run_as_part_of(own_requests._OwnRequest(), dict)
    sys.setprofile(None)


thread = threading.Thread(target=use)  # a context of its own
thread.start()
thread.join()
print(*sorted(seen))
"""


def test_a_finalizer_that_sets_a_variable_does_not_crash_the_interpreter() -> None:
    """Up to Python 3.11 it would."""
    environment = {**os.environ, "PYTHONMALLOC": "debug"}  # overwrites what is freed, so that using it crashes
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        "aquila_asker",
        "aquila_own_request",
        "aquila_route",
        "aquila_scope",
        "aquila_time_limits",
    ]
