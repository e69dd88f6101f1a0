"""``N at once``, counted by the provider: several consumers, whose workers are processes, are killed and suspended.

Never are more requests in progress, and the place of a worker that is gone comes back when its lease is over.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from aquila.huey.limits.counting import Counts
from aquila.huey.limits.shared_limits import TABLE
from aquila.huey.state import state_of
from tests.huey.programs import START, declare_for_program
from tests.huey.storages import SHARED
from tests.support.slow import nightly_but
from tests.support.upstream import Answer, upstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no processes that can be suspended"),
]

AT_ONCE = 3
LEASE = 5.0  # Seconds; a minute would only make the test longer.
ROUNDS = 4
WORKERS = {"process": 3, "thread": 2}  # In each consumer. A process is among any `AT_ONCE` of one with threads.
PATIENCE = 120.0  # Seconds, for what happens on a slow machine, too.
DWELL = 0.1  # Seconds for which one request too many may show itself. A provider that is not held to it sees eight.

APP = """
import os
import aquila
from aquila.huey import {kind}, set_limits

huey = {kind}({name!r}, **{place!r})
set_limits(huey, {limit!r}, lease={lease!r})

@huey.task()
def ask(number):
    return aquila.ask(f"{{number}} {{os.getppid()}} {{os.getpid()}}", base_url={url!r}, model="m").text
"""


class Provider:
    """Holds each request until the test lets it go. A request is the number of its job, and two process ids."""

    def __init__(self):
        self._changed = threading.Condition()
        self._running = set()
        self._most = 0

    def answer(self, path, body):
        request = tuple(map(int, json.loads(body)["messages"][-1]["content"].split()))
        with self._changed:
            self._running.add(request)
            self._most = max(self._most, len(self._running))
            self._changed.notify_all()
            self._changed.wait_for(lambda: request not in self._running)
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return Answer(chunks=[json.dumps({**answer, "usage": usage}).encode()])

    def wait_for(self, amount, seconds):
        """Return the requests in progress as soon as there are ``amount``, or None after so many seconds."""
        with self._changed:
            reached = self._changed.wait_for(lambda: len(self._running) >= amount, seconds)
            return set(self._running) if reached else None

    def let_go(self, requests):
        """Answer requests. Those of workers that were killed are over, too."""
        with self._changed:
            self._running -= requests
            self._changed.notify_all()

    def forget_most(self):
        """Return how many requests were in progress at the same time since the last call."""
        with self._changed:
            most, self._most = self._most, len(self._running)
            return most

    def let_all_go(self):
        with self._changed:
            self._running.clear()
            self._changed.notify_all()


class Consumers:
    """Real consumers, and the jobs for them."""

    def __init__(self, huey, folder, provider):
        self.huey, self.provider = huey, provider
        self.running = {}
        self.results = []
        self._folder = folder

        @huey.task(name="ask")
        def ask(number):
            """Of which only the message is needed here."""

        declare_for_program(huey, "asking_app", ask)
        self._ask = ask

    def start(self, kind):
        # As in production: they take no part in the run of this test.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AQUILA_")}
        environment |= {"PYTHONPATH": str(self._folder), "OPENAI_API_KEY": "-"}
        options = ["-k", kind, "-w", str(WORKERS[kind]), "-n", "-d", "0.02", "-m", "0.1", "-c", "0.5"]
        command = [sys.executable, "-c", START, "asking_app.huey", *options]
        with open(self._folder / "log", "ab") as log:
            process = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)
        self.running[process.pid] = process

    def kill(self, pid):
        process = self.running.pop(pid)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def gather(self, amount):
        """Keep all workers supplied with jobs until ``amount`` requests are in progress, and return these."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.provider.wait_for(amount, 0.1)) is None:
            log = (self._folder / "log").read_text()
            assert time.monotonic() < deadline, f"only {self.provider.wait_for(0, 0)} are in progress: {log}"
            assert all(process.poll() is None for process in self.running.values()), log
            missing = 3 * AT_ONCE - self.huey.pending_count()
            self.results += [self._ask(number) for number in range(len(self.results), len(self.results) + missing)]
        return found

    def do_rounds(self, kept=frozenset()):
        """Let as many requests as may be come together, several times. Those that are ``kept`` are not answered."""
        for _ in range(ROUNDS):
            found = self.gather(AT_ONCE)
            assert self.provider.wait_for(AT_ONCE + 1, DWELL) is None
            self.provider.let_go(found - kept)

    def leases(self):
        """Until when which place is taken, by the clock of the storage."""
        state = state_of(self.huey)
        (found,) = (Counts.read(entry.value) for entry in state.entries(TABLE))
        return {name: until for each in found.leases.values() for name, until in each.items() if until > state.now()}


@pytest.fixture
def consumers(request, make_aquila_huey, tmp_path):
    kind = request.param
    provider = Provider()
    with upstream(provider.answer) as server:
        huey = make_aquila_huey(kind)
        if kind == "sqlite":
            place = {"filename": huey.storage.filename, "fsync": False}
        else:
            name = {"redis": "url", "postgres": "dsn"}[kind]
            place = {name: request.getfixturevalue(f"{kind}_{name}")}
        values = {"kind": type(huey).__name__, "name": huey.name, "place": place, "lease": LEASE}
        limit = f"{server.url.removeprefix('http://')}: {AT_ONCE} at once"
        (tmp_path / "asking_app.py").write_text(APP.format(**values, limit=limit, url=f"{server.url}/v1"))
        with contextlib.ExitStack() as stack:
            made = Consumers(huey, tmp_path, provider)
            stack.callback(provider.let_all_go)
            stack.callback(lambda: [made.kill(pid) for pid in list(made.running)])
            for each in ("process", "process", "thread"):
                made.start(each)
            yield made


@pytest.mark.long(30)
@pytest.mark.parametrize("consumers", nightly_but(["redis"], SHARED), indirect=True)
def test_no_more_requests_are_in_progress_and_no_place_is_lost(consumers, capsys):
    provider = consumers.provider
    consumers.do_rounds()

    # One worker process is killed, which its consumer replaces, and a whole consumer.
    held = consumers.gather(AT_ONCE)
    worker, *others = sorted((each for each in held if each[1] in consumers.running), key=str)
    elsewhere = [each for each in held if each != worker and worker[1] not in each]
    consumer = next(pid for pid in (elsewhere or others or [worker])[0][1:] if pid in consumers.running)
    os.kill(worker[2], signal.SIGKILL)
    consumers.kill(consumer)
    begun = time.monotonic()
    leases = consumers.leases()  # Before the clock is read: those that live prolong theirs at any time.
    now = state_of(consumers.huey).now()
    assert all(until <= now + LEASE for until in leases.values())
    provider.let_go(held)
    consumers.start("process")
    consumers.gather(AT_ONCE)
    back_after_kills = time.monotonic() - begun
    consumers.do_rounds()
    assert provider.forget_most() == AT_ONCE

    # A worker process is suspended for longer than its lease lasts, with a request under way.
    held = consumers.gather(AT_ONCE)
    pinned = next(each for each in held if each[1] in consumers.running)
    os.kill(pinned[2], signal.SIGSTOP)
    begun = time.monotonic()
    try:
        provider.let_go(held - {pinned})
        held = consumers.gather(AT_ONCE + 1)  # the provider has its request, and as many others as may be
        back_after_stop = time.monotonic() - begun
        assert provider.wait_for(AT_ONCE + 2, DWELL) is None
    finally:
        os.kill(pinned[2], signal.SIGCONT)
    for _ in range(int(PATIENCE / 0.05)):
        if len(consumers.leases()) == AT_ONCE + 1:  # it goes on, and is counted again
            break
        provider.wait_for(AT_ONCE + 2, 0.05)
    else:
        pytest.fail(f"the worker that goes on does not count: {consumers.leases()}")
    assert provider.forget_most() == AT_ONCE + 1
    provider.let_go(held - {pinned})
    provider.forget_most()
    consumers.do_rounds(kept={pinned})
    provider.let_go({pinned})
    assert consumers.results[pinned[0]].get(blocking=True, timeout=PATIENCE) == "yes"
    consumers.do_rounds()
    assert provider.forget_most() == AT_ONCE
    with capsys.disabled():
        print(
            f"\n{type(consumers.huey).__name__}: never more than {AT_ONCE} of {len(consumers.results)} requests at "
            f"once; with a lease of {LEASE:.0f} s all places were free {back_after_kills:.1f} s after a kill, "
            f"and {back_after_stop:.1f} s after a stop"
        )
