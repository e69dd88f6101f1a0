"""A task replays, and records into, the cassette of the test that enqueued it: wherever it runs, however it got there.

One project is recorded in every place, and then replayed in every place from what another place recorded.
"""

import importlib.util
import json
import os

import pytest

APP = """
import os
from types import SimpleNamespace
import aquila
from aquila.huey import instances
from huey.api import chord

HERE = os.path.dirname(os.path.abspath(__file__))

def make():
    kind = os.environ["APP_STORAGE"]
    options = {
        "memory": {}, "sqlite": {"filename": os.path.join(HERE, "q.db")}, "file": {"path": os.path.join(HERE, "q")},
        "redis": {"url": os.environ.get("APP_REDIS")}, "postgres": {"dsn": os.environ.get("APP_POSTGRES")},
    }[kind]
    classes = {"memory": "MemoryHuey", "sqlite": "SqliteHuey", "file": "FileHuey", "redis": "RedisHuey",
               "postgres": "PostgresHuey"}
    if os.environ.get("APP_PLAIN"):
        import huey
        return getattr(huey, classes[kind])("app", **options)
    return getattr(instances, classes[kind])("app", **options)

huey = make()

def post(prompt):
    with aquila.http_client() as http:
        return http.post("https://provider.example/v1/x", json={"prompt": prompt}).json()["answer"]

@huey.task()
def answer(prompt, *before):
    return [*(item for part in before for item in part), post(prompt)]

@huey.task(retries=2, retry_delay=0.05, context=True)
def flaky(prompt, task=None):
    first = post(prompt)
    if task.retries:
        raise ValueError("again")
    return [first]

@huey.task()
def fails(prompt):
    post(prompt)
    raise ValueError("for good")

@huey.task()
def handled(prompt, error):
    return [post(prompt)]

@huey.task()
def nests(prompt):
    answer("nested", id=f"nested by {prompt}")
    return [post(prompt)]

@huey.task()
def gathers(prompt, results):
    return [*(item for part in results for item in part), post(prompt)]

def everything():
    pipeline = huey.enqueue(answer.s("first").then(answer, "second"))
    handler = handled.s("handler")
    huey.enqueue(fails.s("fails").error(handler))
    both = huey.enqueue(chord([answer.s("left"), answer.s("right")], gathers.s("gathered")))
    results = {
        "pipeline": list(pipeline)[-1], "handler": SimpleNamespace(id=handler.id, task=handler), "chord": both.callback,
        "retried": flaky("retried"), "later": answer.schedule(("later",), delay=0.05), "nests": nests("outer"),
        "nested": SimpleNamespace(id="nested by outer", task=answer),
    }
    same = [answer("same"), answer("same")]
    return results, same
"""

TESTS = """
import importlib, json, os, pathlib
import pytest
import app as application

PLACES = {places!r}
SHIFT = int(os.environ["APP_SHIFT"])
CASSETTES = [PLACES[(number + SHIFT) % len(PLACES)] for number in range(len(PLACES))]

@pytest.fixture(params=range(len(PLACES)), ids=lambda number: "-".join(map(str, PLACES[number])))
def place(request, monkeypatch):
    worker, storage, plain = PLACES[request.param]
    monkeypatch.setenv("APP_STORAGE", storage)
    monkeypatch.setenv("APP_PLAIN", plain)
    importlib.reload(application)
    request.node.add_marker(pytest.mark.aquila("recorded-by-" + "-".join(CASSETTES[request.param])))
    yield worker, CASSETTES[request.param]
    application.huey.storage.close()

@pytest.fixture
def aquila_huey(place):
    return application.huey

@pytest.fixture
def aquila_huey_storage():
    return "own"

def test_everything(place, aquila_cassette, run_consumer, drain_queue):
    worker, cassette = place
    results, same = application.everything()
    if worker == "drain":
        drain_queue(with_scheduled=True, raise_errors=False)
        get = lambda result: application.huey.get(result.id, peek=True)
        found = {{name: get(result) for name, result in results.items()}}
        twins = [get(result)[0] for result in same]
    else:
        program = "app:huey" if worker.startswith("program ") else False
        with run_consumer(
            worker.removeprefix("program "), workers=2, subprocess=program, raise_errors=False, timeout=240
        ) as consumer:
            found = {{name: consumer.wait(result) for name, result in results.items()}}
            twins = [values[0] for values in consumer.wait(*same)]
    found["same"] = sorted(twins)
    assert len(set(twins)) == 2, "two equal requests must get two answers"
    file = pathlib.Path("results-" + "-".join(cassette) + ".json")
    if SHIFT == 0:
        file.write_text(json.dumps(found))
        assert aquila_cassette.misses == ()
    else:
        assert found == json.loads(file.read_text())
        assert aquila_cassette.all_played
"""

# The requests of one test: each must reach the provider once, and only when recording.
PROMPTS = (
    ["first", "second", "fails", "handler", "left", "right", "gathered", "later", "outer", "nested"]
    + ["retried"] * 3
    + ["same"] * 2
)


def places():
    found = [("drain", "memory", ""), ("thread", "memory", ""), ("thread", "file", ""), ("thread", "sqlite", "plain")]
    if hasattr(os, "fork"):
        found += [("process", "sqlite", ""), ("process", "redis", ""), ("process", "postgres", "plain")]
    if importlib.util.find_spec("gevent"):
        found += [("greenlet", "memory", ""), ("program greenlet", "redis", "")]
    return [*found, ("program thread", "sqlite", ""), ("program process", "sqlite", "plain")]


@pytest.fixture
def reachable(request, monkeypatch):
    """The places whose servers can be run here."""
    missing = set()
    for kind, fixture in (("redis", "redis_url"), ("postgres", "postgres_dsn")):
        try:
            monkeypatch.setenv(f"APP_{kind.upper()}", request.getfixturevalue(fixture))
        except pytest.skip.Exception:
            missing.add(kind)
    return [place for place in places() if place[1] not in missing]


@pytest.mark.long(25)
@pytest.mark.slow
def test_recorded_anywhere_a_task_replays_anywhere(pytester, monkeypatch, reachable):
    calls = pytester.path / "calls.txt"
    pytester.makepyfile(
        app=APP,
        test_app=TESTS.format(places=reachable),
        provider=f"""
        import fcntl, json, httpx2

        def handle(request):
            with open({str(calls)!r}, "ab+") as calls:
                fcntl.flock(calls, fcntl.LOCK_EX)
                calls.write(request.content + b"\\n")
                calls.seek(0)
                number = len(calls.read().splitlines())
            return httpx2.Response(200, json={{"answer": number}})

        def transport():
            return httpx2.MockTransport(handle)
        """,
    )
    pytester.makeini("[pytest]\npythonpath = .\n")
    monkeypatch.setenv("APP_STORAGE", "memory")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))

    monkeypatch.setenv("APP_SHIFT", "0")
    recorded = pytester.runpytest_subprocess("-W", "error", "--aquila-record", "--aquila-upstream=provider:transport")
    recorded.assert_outcomes(passed=len(reachable))
    prompts = [json.loads(line)["prompt"] for line in calls.read_text().splitlines()]
    assert sorted(prompts) == sorted(PROMPTS * len(reachable))
    assert not [*pytester.path.glob("cassettes/.journal/*.journal")]

    monkeypatch.setenv("APP_SHIFT", "1")
    replayed = pytester.runpytest_subprocess("-W", "error")
    replayed.assert_outcomes(passed=len(reachable))
    assert len(calls.read_text().splitlines()) == len(prompts)
