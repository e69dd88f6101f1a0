"""A request leaves at the moment as which it is counted, so that what a limit lets through does not bunch."""

import json
import os
import subprocess
import sys
import uuid

import pytest

from aquila.huey import FileHuey, MemoryHuey, PostgresHuey, RedisHuey, SqliteHuey
from aquila.huey.limits.counting import LimitTurn
from aquila.huey.limits.rules import parse_limits
from aquila.huey.limits.shared_limits import RequestNeed, acquire, counters_of
from aquila.huey.state import state_of

CLASSES = {
    "memory": MemoryHuey, "sqlite": SqliteHuey, "file": FileHuey, "redis": RedisHuey, "postgres": PostgresHuey,
}  # fmt: skip

ASKS = """
import json, logging, sys
import aquila
from aquila.huey import MemoryHuey, set_limits, within_limits
from aquila.huey.limits import shared_limits
from tests.support.upstream import streamed, upstream

acquire, loaded = shared_limits.acquire, []

def acquire_and_look(*given):
    found = acquire(*given)
    loaded.append(set(sys.modules))
    return found

shared_limits.acquire = acquire_and_look

def answer(path, body):
    loaded.append(set(sys.modules))
    return streamed('one two')

huey = MemoryHuey("app")
with upstream(answer) as server:
    set_limits(huey, "127.0.0.1: 5/s", counts_in_tests=True)
    where = {"base_url": server.url + "/v1", "model": "m", "api_key": "k", "transport": "live"}
    with within_limits(huey):
        if sys.argv[1] == "sync":
            aquila.ask("hi", **where)
        else:
            import asyncio
            asyncio.run(aquila.aask("hi", **where))
counted, arrived = loaded
print(json.dumps(sorted(arrived - counted)))
"""


def ask(state, limits, now):
    need = RequestNeed(name=uuid.uuid4().hex, read=1, longest_answer=0, has_turn=True)
    return acquire(state, counters_of(parse_limits(limits)), need, 60.0, now)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_request_that_others_were_faster_than_is_counted_when_it_is_let_in(make_huey, monkeypatch, kind):
    state, clock = state_of(make_huey(kind, classes=CLASSES)), [2e9]
    monkeypatch.setattr(state, "now", lambda: clock[0])
    replace, others = state.replace, []

    def replace_after_another(*given, **options):
        if not others:
            others.append("in")
            clock[0] += 0.5  # The other one took its time.
            assert not isinstance(ask(state, "openai: 3/s", clock[0]), LimitTurn)
        return replace(*given, **options)

    assert not isinstance(ask(state, "openai: 3/s", clock[0]), LimitTurn)
    monkeypatch.setattr(state, "replace", replace_after_another)
    assert not isinstance(ask(state, "openai: 3/s", clock[0]), LimitTurn)
    monkeypatch.undo()
    monkeypatch.setattr(state, "now", lambda: clock[0])
    clock[0] += 0.6  # A period after the first one, and not after the two others.
    assert not isinstance(ask(state, "openai: 3/s", clock[0]), LimitTurn)
    turn = ask(state, "openai: 3/s", clock[0])
    assert isinstance(turn, LimitTurn)
    assert turn.asked == clock[0]
    assert turn.at >= 2e9 + 1.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_first_request_of_a_process_has_loaded_all_it_needs_before_it_is_counted(kind):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AQUILA_")}
    said = subprocess.run(
        [sys.executable, "-c", ASKS, kind],
        env={**environment, "PYTHONPATH": os.getcwd()},
        check=True,
        stdout=subprocess.PIPE,
        timeout=240,
    ).stdout
    packages = {name.partition(".")[0] for name in json.loads(said)}
    assert packages & {"aquila", "openai", "httpx2", "httpcore2", "ssl"} == set()
