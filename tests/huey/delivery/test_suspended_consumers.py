"""A consumer that is suspended for longer than ``lost_after``, on real servers: others do its tasks, each once."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from aquila.huey import dead_letters, is_conflict, list_consumers
from tests.huey.programs import START, environment_of
from tests.huey.storages import CLASSES, SHARED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no processes that can be suspended"),
]

LOST_AFTER = 1.5  # Seconds; half a minute would only make the test longer.
NUMBERS = range(2)
APP = """
import os, time
from aquila.huey import {kind}, current_task, once

huey = {kind}("suspended", keep_running=True, lost_after={lost_after}, **{place!r})

def note(*words):
    with open({notes!r}, "a") as file:
        print(*words, file=file)

def begin(*words):
    delivery = current_task().delivery
    note("begin", delivery, *words)
    while delivery == 1 and not os.path.exists({go!r}):
        time.sleep(0.02)

@huey.task()
def draft(number):
    once("drafted", lambda: note("drafted", number))
    begin("draft", number)
    return number

@huey.task()
def publish(number):
    note("published", number)
    return number

@huey.task(retries=1)
def fail_once(number):
    begin("fail_once", number)
    if current_task().delivery == 1:
        raise ConnectionError("the first consumer fails, which nobody must hear of")
    note("succeeded", number)
    return number

@huey.task(unique=True)
def single(key):
    begin("single", key)
    note("ended", "single", key, current_task().delivery)
    return key

@huey.task()
def nothing():
    begin("nothing")
"""


@pytest.mark.long(30)
@pytest.mark.parametrize("kind", SHARED)
def test_the_tasks_of_a_suspended_consumer_have_one_outcome_each(kind, tmp_path, request, import_app):
    place = {
        "redis": lambda: {"url": request.getfixturevalue("redis_url")},
        "postgres": lambda: {"dsn": request.getfixturevalue("postgres_dsn")},
        "sqlite": lambda: {"filename": str(tmp_path / "queue.db")},
    }[kind]()
    notes, go, pause = tmp_path / "notes", tmp_path / "go", threading.Event()
    values = {"kind": CLASSES[kind].__name__, "lost_after": LOST_AFTER, "place": place}
    app = import_app(APP.format(**values, notes=str(notes), go=str(go)))
    huey = app.huey

    def noted():
        return notes.read_text().splitlines() if notes.exists() else []

    def wait_for(condition, what):
        for _ in range(6000):
            if condition():
                return
            pause.wait(0.02)
        pytest.fail(f"{what}: {noted()}")

    def start(workers):
        command = [sys.executable, "-c", START, f"{app.__name__}.huey", "-w", str(workers), "-d", ".02"]
        with open(tmp_path / f"consumer{len(consumers)}.log", "w") as log:
            consumers.append(subprocess.Popen(command, env=environment_of(tmp_path), stderr=log))
        return consumers[-1]

    def suspend(consumer):
        # A file of SQLite is locked as a whole: who is suspended within a transaction keeps all others from it. None is
        # within one while this process is.
        with huey.storage.db(commit=True) if kind == "sqlite" else contextlib.nullcontext():
            consumer.send_signal(signal.SIGSTOP)
            os.waitpid(consumer.pid, os.WUNTRACED)

    results = [huey.enqueue(app.draft.s(number).then(app.publish)) for number in NUMBERS]
    drafts, published = zip(*results, strict=True)
    others = [app.fail_once(7), app.single(8)]
    app.nothing()
    consumers = []
    try:
        first = start(5)
        wait_for(lambda: sum("begin 1" in each for each in noted()) == 5, "five tasks have begun")
        suspend(first)
        assert is_conflict(app.single(8))
        second = start(5)
        done = {"begin 2 nothing", "ended single 8 2", "succeeded 7", *(f"published {number}" for number in NUMBERS)}
        wait_for(lambda: done <= set(noted()), "the other consumer has done all")
        go.touch()
        first.send_signal(signal.SIGCONT)
        wait_for(lambda: "ended single 8 1" in noted(), "the first consumer goes on")
        again = app.single(9)  # Whoever takes it, both live.
        first.send_signal(signal.SIGINT)
        assert first.wait(120) == 0
        assert again.get(blocking=True, timeout=60) == 9
        second.send_signal(signal.SIGINT)
        assert second.wait(120) == 0
    finally:
        for consumer in consumers:
            consumer.kill()
            consumer.wait()
    counted = Counter(re.sub(r"^begin \d", "begin", each) for each in noted())
    assert {each: counted[each] for each in counted if each.startswith(("drafted", "published", "succeeded"))} == {
        **{f"drafted {number}": 1 for number in NUMBERS},
        **{f"published {number}": 1 for number in NUMBERS},
        "succeeded 7": 1,
    }
    assert [counted[f"begin {each}"] for each in ("draft 0", "draft 1", "fail_once 7", "single 8", "nothing")] == [
        2
    ] * 5
    assert [each.get() for each in (*drafts, *published, *others)] == [0, 1, 0, 1, 7, 8]
    assert huey.pending_count() == huey.scheduled_count() == 0
    assert len(dead_letters(huey)) == 0
    assert list_consumers(huey) == []
    assert not is_conflict(app.single(8))
