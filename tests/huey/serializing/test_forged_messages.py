"""Somebody else writes to the queue of a real consumer: it does what its own environment said, and nothing else."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

import pytest

import aquila
from aquila.huey.instances import RedisHuey, SqliteHuey
from aquila.huey.scopes.scope_reference import KEY
from aquila.huey.scopes.scope_sharing import collect_misses
from aquila.huey.testing.consumers.running_consumer import RunningConsumer
from aquila.huey.testing.consumers.worker_errors import WorkerErrors
from aquila.recording import scope as scopes
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.runtime import SEAL_LENGTH
from tests.support.http_server import LoopbackServer
from tests.support.runs import separate_run

APP = """
import os
import aquila
from aquila.huey import RedisHuey, SqliteHuey

huey = RedisHuey("app", url=os.environ["REDIS"]) if "REDIS" in os.environ else SqliteHuey("app", filename="queue.db")

@huey.task()
def answer(prompt):
    with aquila.http_client() as http:
        return http.post(os.environ["PROVIDER"] + "/v1/chat/completions", json={"prompt": prompt}).json()["answer"]
"""

TEST = """
import app

def test_it(aquila_tasks, aquila_cassette):
    result = app.answer("from a test")
    assert result.get(blocking=True, timeout=240, preserve=True) == "ok"
"""


@pytest.fixture
def provider():
    """A provider on loopback: its address, and the bodies of the requests that reached it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"answer": "ok"}')

        def log_message(self, *arguments):
            pass

    with LoopbackServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=[pytest.mark.slow, pytest.mark.nightly])])
def project(request, tmp_path, provider):
    """A project of its own with a queue: its folder, its Huey as an attacker has it, and the environment."""
    (tmp_path / "app.py").write_text(APP)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILA_", "PYTEST_"))}
    environment.pop("PYTHONPATH", None)
    environment |= {"PROVIDER": provider[0]}
    if request.param == "redis":
        environment["REDIS"] = request.getfixturevalue("redis_url")
        huey = RedisHuey("app", url=environment["REDIS"])
    else:
        huey = SqliteHuey("app", filename=str(tmp_path / "queue.db"))
    huey.flush()

    @huey.task(name="answer")
    def answer(*arguments, **keywords):
        raise AssertionError

    answer.task_class.__module__ = "app"
    huey._registry._registry["app.answer"] = answer.task_class
    yield tmp_path, huey, answer.task_class, environment
    huey.flush()
    huey.storage.close()


@contextlib.contextmanager
def consumer_of(project, **variables):
    """A `huey_consumer` as somebody starts it by hand."""
    folder, huey, _, environment = project
    running = RunningConsumer(huey, 240, WorkerErrors(folder / "errors"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "huey.bin.huey_consumer", "app.huey", "-n", "-d", ".01", "-m", ".02"],
            cwd=folder, env={**environment, "PYTHONPATH": str(folder), **variables}, stderr=log,
        )  # fmt: skip
    running.process, running._log_file = process, folder / "log"
    try:
        running.wait_for(lambda: "Huey consumer started" in running.log)
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(240)


def enqueue_forged(project, prompt, **changes):
    _, huey, task_class, _ = project
    fields = {"scope": "00ff" * 4, "name": "x", "default": "stolen", "transport": "record", "options": {}, "from": "x"}
    task = task_class((prompt,), {KEY: "0" * SEAL_LENGTH + json.dumps({**fields, **changes})})
    task._aquila_scope = None
    huey.storage.enqueue(huey.serialize_task(task))
    return task.id


def outcome_of(consumer, huey, task_id):
    return consumer.wait_for(lambda: huey.get(task_id, peek=True), what="the outcome")


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def attacks(elsewhere):
    """What was tried, by name: the fields of references, the last of which changes nothing by itself."""
    return {
        "an absolute path": {"scope": str(elsewhere / "absolute")},
        "a path upwards": {"scope": "../../upwards"},
        "recording": {},
        "recording anew": {"options": {"record": "all"}},
        "live": {"transport": "live"},
        "code": {"transport": "os:system"},
        "a folder": {"options": {"cassette_dir": str(elsewhere)}},
        "a host": {"options": {"base_url": "http://127.0.0.1:9", "providers": ["evil.example"]}},
        "no guard": {"options": {"guard": "off"}, "transport": "live"},
    }


@pytest.mark.slow
def test_a_production_worker_records_nothing_whatever_messages_say(project, provider, tmp_path_factory):
    folder, huey, _, _ = project
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with consumer_of(project) as consumer:
        before = files_of(folder)
        for name, changes in attacks(elsewhere).items():
            task = enqueue_forged(project, f"a customer's secret: {name}", **changes)
            assert outcome_of(consumer, huey, task) == "ok"  # It asks live, as it does without any reference.
        assert files_of(folder) == before
    assert files_of(elsewhere) == []
    assert len(provider[1]) == len(attacks(elsewhere))


@pytest.mark.slow
def test_a_replaying_worker_asks_nobody_and_writes_nothing_whatever_messages_say(project, provider, tmp_path_factory):
    folder, huey, task_class, _ = project
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with consumer_of(project, AQUILA_UNDER_TEST="1") as consumer:
        before = files_of(folder)
        for name, changes in attacks(elsewhere).items():
            task = enqueue_forged(project, name, **changes)
            consumer.wait_for(lambda task=task: huey.get(task, peek=True) or consumer.log.count("malformed reference"))
        bare = task_class(("without any reference",))
        bare._aquila_scope = None
        huey.storage.enqueue(huey.serialize_task(bare))
        assert "carries no reference" in str(outcome_of(consumer, huey, bare.id))
        assert files_of(folder) == before
    assert files_of(elsewhere) == []
    assert provider[1] == []


@pytest.mark.long(25)
@pytest.mark.slow
def test_a_worker_that_was_told_joins_the_test_in_replay_and_in_record(project, provider):
    folder, _, _, environment = project
    (folder / "test_it.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\naquila_huey = app:huey\naquila_huey_storage = own\npythonpath = .\n")

    def run_pytest(*options):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        given = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(command, check=False, **given)

    with consumer_of(project, AQUILA_UNDER_TEST="1", AQUILA_RECORD="missing"):
        recorded = run_pytest("--aquila-record")
        assert recorded.returncode == 0, recorded.stdout
    assert provider[1] == [{"prompt": "from a test"}]
    assert "from a test" in (folder / "cassettes" / "test_it" / "test_it.yaml").read_text()
    for variables in ({}, {"AQUILA_RECORD": "missing"}, {"AQUILA_TRANSPORT": "live"}):
        with consumer_of(project, AQUILA_UNDER_TEST="1", **variables):
            replayed = run_pytest()
            assert replayed.returncode == 0, replayed.stdout
    assert len(provider[1]) == 1
    (folder / "cassettes" / "test_it" / "test_it.yaml").unlink()
    with consumer_of(project, AQUILA_UNDER_TEST="1"):  # not told to record
        refused = run_pytest("--aquila-record")
        assert refused.returncode == 1
        assert "AQUILA_TRANSPORT=record" in refused.stdout
    assert len(provider[1]) == 1


HOSTILE_VALUES = [
    None,
    1,
    [],
    {},
    "x",
    [1, 2],
    [True, "text"],
    [True, 1, "", ""],
    [b"x", "host", 2**63, 1.0],
    [[[]]] * 4,
]


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=str)
def test_a_foreign_entry_in_the_place_of_a_miss_breaks_nothing(value, tmp_path):
    huey = SqliteHuey("app", filename=str(tmp_path / "q.db"))
    with (
        separate_run(tmp_path, defaults={"transport": "replay"}, under_pytest=True),
        aquila.use_cassette("one") as used,
    ):
        scope = scopes.current_scope()
        huey.put(f"aquila.miss.{scope.id}.x", value)
        huey.storage.put_data(f"aquila.miss.{scope.id}.y", b"damaged")
        collect_misses(huey, scope)
        assert ["cannot be read" in str(miss) for miss in used.misses] == [True, True]
        collect_misses(huey, scope)
        assert len(used.misses) == 2
        assert not huey.all_results()
        used.forget_misses()
    huey.storage.close()


@pytest.mark.parametrize("text", [b"\xff\xfe", b"{", b"[" * 100_000, b"[]", b'[true, 1, "", ""]', b"null"])
def test_a_damaged_note_of_a_child_is_a_miss_and_breaks_nothing(text, tmp_path):
    messages = ChildMessages(str(tmp_path))
    (tmp_path / ("0" * 16)).write_bytes(text + b"\n")
    assert ["cannot be read" in str(miss) for miss in messages.take_misses("0" * 16)] == [True]
