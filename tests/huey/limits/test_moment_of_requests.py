"""A request leaves at the moment as which it is counted, so that what a limit lets through does not bunch."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
import uuid

import pytest

import aquila
from aquila.huey import MemoryHuey, set_limits, within_limits
from aquila.huey.limits.counting import AdmissionRequest, LimitTurn
from aquila.huey.limits.rules import parse_limits
from aquila.huey.limits.shared_limits import acquire, counters_of
from aquila.huey.state import state_of
from aquila.transports import upstreams
from aquila.transports.live import AsyncLiveTransport, LiveTransport
from tests.huey.storages import STORAGES
from tests.support.engines import ENGINES
from tests.support.provider import responses_events
from tests.support.responses_over_sockets import answering, over_socket
from tests.support.upstream import streamed, upstream

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
    wanted = AdmissionRequest(1, uuid.uuid4().hex, 60.0, has_turn=True)
    return acquire(state, counters_of(parse_limits(limits)), wanted, now)


@pytest.mark.parametrize("kind", STORAGES)
def test_a_request_that_others_were_faster_than_is_counted_when_it_is_let_in(make_aquila_huey, monkeypatch, kind):
    state, clock = state_of(make_aquila_huey(kind)), [2e9]
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


@pytest.fixture
def proxy_lookups(monkeypatch):
    """A list that grows by one each time that the proxy of a URL is looked up, which takes a while."""
    lookups, look = [], urllib.request.getproxies

    def look_and_note():
        lookups.append(1)
        return look()

    monkeypatch.setattr(urllib.request, "getproxies", look_and_note)
    # As in a process that has sent nothing yet.
    monkeypatch.setitem(
        upstreams._BUILT_IN, "live", upstreams.Upstream("live", LiveTransport, AsyncLiveTransport, needs_key=True)
    )
    return lookups


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [("127.0.0.1: 100/s", [2, 1, 1]), ("openai: 100/s", [1, 1, 1]), (None, [1, 1, 1])],
    ids=["limited", "another provider is limited", "no limits"],
)
def test_only_the_first_request_that_a_limit_counts_gets_ready_before_it(kind, limits, expected, proxy_lookups):
    huey, found = MemoryHuey("app"), []
    set_limits(huey, limits, counts_in_tests=True)

    async def ask_three_times():
        for _ in range(3):
            await aquila.aask("hi", **where)
            found.append(len(proxy_lookups))
            proxy_lookups.clear()

    with upstream(lambda path, body: streamed("one two")) as server, within_limits(huey):
        where = {"base_url": server.url + "/v1", "model": "m", "api_key": "k", "transport": "live"}
        if kind == "async":
            asyncio.run(ask_three_times())
        else:
            for _ in range(3):
                aquila.ask("hi", **where)
                found.append(len(proxy_lookups))
                proxy_lookups.clear()
    assert found == expected


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_a_counted_request_over_a_web_socket_makes_no_connections_for_http(engine, proxy_lookups):
    huey = MemoryHuey("app")
    set_limits(huey, "*: 100/s", counts_in_tests=True)
    with answering(responses_events("hello")) as provider, within_limits(huey):
        assert engine.ask("Say hello.", **over_socket(provider)).text == "hello"
    assert provider.connections == 1
    assert upstreams._BUILT_IN["live"]._made == {}


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
