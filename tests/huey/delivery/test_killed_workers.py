"""Workers killed at random moments, on real storages: no job is lost, and no result is stored twice.

Nor is an identical job let in while one is queued or runs, whoever enqueues them: the test, or a worker that is killed.
A whole consumer is killed, or one worker process, which its consumer replaces.

On each storage a hundred in each night, fewer for each change.

It prints what it came to, and how often an answer was paid again.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from redis import Redis

from aquila.huey import dead_letters, is_conflict
from aquila.huey.state import state_of
from tests.huey.programs import START, declare_for_program, environment_of
from tests.support.slow import nightly_but

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="no processes that can be killed in groups"),
]

BY_DAY = {"redis": 30, "postgres": 10, "sqlite": 10}
BY_NIGHT = 100
CONSUMERS = 3
SINGLES = 12  # Of so many jobs there is one of each at a time.
LOST_AFTER = 1.5  # Seconds; half a minute would only make the test longer.
OPTIONS = {"store_intermediate_errors": False}  # Of a result that a retry follows Huey stores the error, too.

APP = """
import os, random, time
from pathlib import Path
from aquila.huey import {kind}, current_task, is_conflict
from aquila.huey.delivery import rescuer

rescuer._MAX_LOSSES = 1000  # With so many murders some jobs are lost three times, and would be given up.
huey = {kind}({name!r}, keep_running=True, lost_after={lost_after!r}, **{options!r})
about = Path({about!r})

def note(name, line):
    # What a process has written stays, whenever it is killed, and a short line is appended as a whole.
    with open(about / name, "a") as notes:
        notes.write(f"{{line}}\\n")

def take(place, id):
    # As a whole, too: a holder that is there has its name in it.
    mine = about / f"by {{os.getpid()}} {{random.random()}}"
    mine.write_text(id)
    try:
        while True:
            try:
                os.link(mine, place)
                return None
            except FileExistsError:
                try:
                    return place.read_text()
                except FileNotFoundError:
                    pass  # It has ended in this moment.
    finally:
        mine.unlink()

@huey.task(retries=2)
def job(number):
    note("executed", number)  # An answer is asked for, and paid.
    (about / "busy" / f"{{os.getpgid(0)}}.{{os.getpid()}}").touch()
    result = single(number % {singles})
    if not is_conflict(result):
        note("admitted", result.id)
    time.sleep(random.uniform(0, 0.05))
    if number % 10 == 0 and current_task().attempt == 1:
        raise ConnectionError("the first time it fails")
    return number

@huey.task(unique=True)
def single(number):
    # It holds its place from its beginning to its end, also while it waits to be delivered again.
    id, place = current_task().id, about / f"held {{number}}"
    holder = take(place, id)
    if holder not in (None, id):
        note("broken", f"{{number}}: {{id}} has begun while {{holder}} was under way")
    note("singles", id)
    time.sleep(random.uniform(0, 0.1))
    if holder in (None, id):
        place.unlink(missing_ok=True)
    return number
"""
_PATIENCE = 300


@pytest.mark.long(45)
@pytest.mark.parametrize(
    ("kind", "kills"),
    nightly_but(BY_DAY.items(), [*BY_DAY.items(), *((kind, BY_NIGHT) for kind in BY_DAY)], of_several_names=True),
)
def test_no_job_is_lost_and_no_result_is_stored_twice(kind, kills, tmp_path, make_aquila_huey, request, capsys):
    huey = make_aquila_huey(kind, keep_running=True, lost_after=LOST_AFTER, **OPTIONS)
    about = tmp_path / "about"
    (about / "busy").mkdir(parents=True)
    write_app(tmp_path / "killed_app.py", huey, kind, about, request)

    @huey.task(name="job", retries=2)
    def job(number):
        """Of which only the message is needed here."""

    @huey.task(name="single", unique=True)
    def single(number):
        """Of which only the message is needed here."""

    declare_for_program(huey, "killed_app", job, single)
    dice = random.Random(7)
    with COUNTING[kind](huey) as stored, open(about / "log", "ab") as log, contextlib.ExitStack() as stack:
        begun = time.monotonic()

        def start():
            workers = dice.choice(["thread", "thread", "process"])
            command = [sys.executable, "-c", START, "killed_app.huey", "-n", "-w", "2", "-k", workers, "-c", "0.5"]
            process = subprocess.Popen(command, env=environment_of(tmp_path), stderr=log, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(kill, process)
            return process

        running, single_workers = [start() for _ in range(CONSUMERS)], 0
        results, refused, admitted = [], 0, set()
        for killed in range(kills):
            deadline = time.monotonic() + _PATIENCE  # for the next one: for all, how fast the machine is would decide
            while not (busy := find_busy(about, running)):
                assert time.monotonic() < deadline, f"only {killed} were killed"
                assert all(process.poll() is None for process in running), (about / "log").read_text()
                results += [job(number) for number in range(len(results), len(results) + 30 - huey.pending_count())]
                found = [single(number) for number in range(SINGLES)]
                refused += sum(map(is_conflict, found))
                admitted |= {each.id for each in found if not is_conflict(each)}
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.2))
            victim, worker = dice.choice(busy)
            forget_busy(about, running[victim], worker)
            if worker != running[victim].pid and dice.random() < 0.5:
                os.kill(worker, signal.SIGKILL)
                single_workers += 1
            else:
                kill(running[victim])
                running[victim] = start()
        deadline = time.monotonic() + _PATIENCE
        while has_work(huey, kind) or not all(huey.storage.has_data_for_key(result.id) for result in results):
            assert time.monotonic() < deadline, describe_rest(huey, results)
            time.sleep(0.05)
        took = time.monotonic() - begun
    assert [letter.reason for letter in dead_letters(huey)] == []
    assert sorted(huey.get(result.id) for result in results) == list(range(len(results)))
    assert huey.pending_count() == huey.scheduled_count() == 0
    singles = set(read_notes(about, "singles"))
    assert stored == dict.fromkeys([*(result.id for result in results), *singles], 1)
    assert (admitted | {*read_notes(about, "admitted")}) - singles == set()
    assert read_notes(about, "broken") == []
    assert refused > 0
    executed = len(read_notes(about, "executed"))
    again = executed - len(results) - len(results[::10])
    with capsys.disabled():
        print(
            f"\n{kind}: {kills} workers killed in {took:.0f} s, {single_workers} of them without their consumers: "
            f"of {len(results)} jobs 0 lost, 0 results stored twice, {again} of {executed} executions were paid again; "
            f"of {len(singles)} single jobs 0 lost, 0 ran beside their like, and {refused} were refused here"
        )


def write_app(path, huey, kind, about, request):
    """Write the module of the consumers, whose Huey is on the same storage."""
    if kind == "sqlite":
        place = {"filename": huey.storage.filename, "fsync": False}
    elif kind == "redis":
        place = {"url": request.getfixturevalue("redis_url")}
    else:
        place = {"dsn": huey.storage.dsn}
    path.write_text(
        APP.format(
            kind=type(huey).__name__,
            name=huey.name,
            lost_after=LOST_AFTER,
            options={**OPTIONS, **place},
            about=str(about),
            singles=SINGLES,
        )
    )


def find_busy(about, running):
    """The workers that have begun a job: the places of their consumers in ``running``, and the ids of the processes."""
    places = {process.pid: place for place, process in enumerate(running)}
    noted = sorted(tuple(map(int, path.name.split("."))) for path in (about / "busy").iterdir())
    return [(places[group], worker) for group, worker in noted if group in places]


def forget_busy(about, consumer, worker):
    """Before a worker is killed: nobody must take it for busy afterwards, for its process id may be used again."""
    (about / "busy" / f"{consumer.pid}.{worker}").unlink()


def read_notes(about, name):
    path = about / name
    return path.read_text().split("\n")[:-1] if path.exists() else []


@contextlib.contextmanager
def count_in_redis(huey):
    """Count how often each result is stored, going by what the server says that it does, in scripts too."""
    stored = Counter()
    client = Redis(unix_socket_path=huey.storage.conn.connection_pool.connection_kwargs["path"])

    def listen():
        with client.monitor() as monitor:
            ready.set()
            for heard in monitor.listen():
                command, *words = heard["command"].split(" ", 3)
                if command.upper() == "HSET" and words[0] == huey.storage.result_key:
                    stored[words[1]] += 1
                elif command.upper() == "ECHO":
                    return

    ready = threading.Event()
    listener = threading.Thread(target=listen)
    listener.start()
    assert ready.wait(60)
    try:
        yield stored
    finally:
        client.echo("the end")
        listener.join(60)
        client.close()


_IN_SQLITE = [
    "create table stored (key text not null)",
    "create trigger stored_first after insert on kv begin insert into stored values (new.key); end",
    "create trigger stored_again after update on kv begin insert into stored values (new.key); end",
]
_IN_POSTGRES = [
    "create table stored (key text not null)",
    "create function note_stored() returns trigger language plpgsql as "
    "$$ begin insert into stored values (new.key); return null; end $$",
    "create trigger stored after insert or update on huey_kv for each row "
    "when (new.queue = '{queue}') execute function note_stored()",
]
_LEAVE_POSTGRES = ["drop trigger stored on huey_kv", "drop function note_stored", "drop table stored"]


@contextlib.contextmanager
def count_in_sqlite(huey):
    """Count how often each result is stored, going by the database, in which each is noted with the change itself."""
    stored = Counter()
    for statement in _IN_SQLITE:
        huey.storage.sql(statement, commit=True)
    yield stored
    stored.update(key for (key,) in huey.storage.sql("select key from stored", results=True))


@contextlib.contextmanager
def count_in_postgres(huey):
    """Count as ``count_in_sqlite`` does. The server is that of other tests, too."""
    stored = Counter()
    for statement in _IN_POSTGRES:
        huey.storage.sql(statement.format(queue=huey.name), commit=True)
    try:
        yield stored
        stored.update(key for (key,) in huey.storage.sql("select key from stored", results=True))
    finally:
        for statement in _LEAVE_POSTGRES:
            huey.storage.sql(statement, commit=True)


COUNTING = {"redis": count_in_redis, "sqlite": count_in_sqlite, "postgres": count_in_postgres}


def has_work(huey, kind):
    """Whether a job is queued, or has a copy: while it runs, and until it is delivered again."""
    # Asked again at the end: a lost job may have been enqueued between the first two questions.
    return huey.pending_count() or has_copies(huey, kind) or huey.pending_count()


def has_copies(huey, kind):
    if kind == "redis":
        return huey.storage.conn.keys(f"*{{{huey.name}}}.running*")
    table, mark = state_of(huey).table_name, {"sqlite": "?", "postgres": "%s"}[kind]
    query = f"select 1 from {table} where queue = {mark} and substr(name, 1, 8) = 'running.' limit 1"
    return huey.storage.sql(query, (huey.name,), results=True)


def describe_rest(huey, results):
    left = [result.id for result in results if not huey.storage.has_data_for_key(result.id)]
    return f"{len(left)} jobs are lost; waiting: {huey.pending_count()}, scheduled: {huey.scheduled_count()}"


def kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
