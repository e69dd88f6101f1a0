"""What scripts have answered other processes, in the report of the run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugin.conftest import Project
from tests.support.report_schema import read_report

CLIENTS = '''
"""What child processes run."""
import json
import sys

import httpx2


def chat(text):
    body = {"model": "gpt-x", "messages": [{"role": "user", "content": text}]}
    key = {"authorization": "Bearer sk-proj-" + "9zT4" * 12}
    return httpx2.post("https://api.openai.com/v1/chat/completions", json=body, headers=key).status_code


def talk(text):
    from websockets.sync.client import connect
    with connect("wss://api.openai.com/v1/responses?model=gpt-socket") as connection:
        connection.send(json.dumps({"type": "response.create", "model": "gpt-socket", "input": text}))
        while json.loads(connection.recv(60))["type"] != "response.completed":
            pass


if __name__ == "__main__":
    for text in sys.argv[2:]:
        globals()[sys.argv[1]](text)
'''

TESTS = """
import multiprocessing
import subprocess
import sys

import clients
import pytest


def run(*arguments):
    subprocess.run([sys.executable, "clients.py", *arguments], check=True)


def test_child(aquila_script):
    aquila_script.reasoning("They greet.").reply("Hello from the script", usage=(11, 3))
    run("chat", "Hi <b>there</b>")


@pytest.mark.aquila(faults="overloaded")
def test_fault(aquila_script):
    aquila_script.reply("after all")
    run("chat", "again", "again")


def test_socket(aquila_script):
    aquila_script.reply("over a socket")
    run("talk", "Hi over a socket")


def test_fork(aquila_script):
    aquila_script.reply("to a fork")
    forked = multiprocessing.get_context("fork").Process(target=clients.chat, args=("from a fork",))
    forked.start()
    forked.join()


def test_much(aquila_script):
    aquila_script.reply("little").reply("x" * 20_000).reply("y" * 20_000).reply("little again")
    run("chat", "one", "two", "three", "four")
"""


def run_and_read(project: Project, *arguments: str, passed: int) -> Any:
    """Run the tests in a process of its own. Return the report, and the exchanges by the names of the tests."""
    result = project.pytester.runpytest_subprocess(
        "--aquila-report=run.json", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments
    )
    result.assert_outcomes(passed=passed)
    report = read_report(project.pytester.path)
    return report, {test["id"].rpartition("::")[2]: test["exchanges"] for test in report["tests"]}


@pytest.mark.slow
def test_what_a_script_answers_another_process_is_told_like_what_it_answers_here(project: Project) -> None:
    project.pytester.makepyfile(clients=CLIENTS, test_everything=TESTS)
    project.pytester.makeconftest(
        "import aquila.recording.reporting.exchange_watch as watch\nwatch.MOST_ELSEWHERE = 30_000"
    )
    report, told = run_and_read(project, passed=5)

    (exchange,) = told["test_child"]
    assert (exchange["states"], exchange["source"], exchange["status"]) == (["scripted"], "scripted", 200)
    assert (exchange["host"], exchange["path"]) == ("api.openai.com", "/v1/chat/completions")
    assert exchange["messages"] == [{"role": "user", "text": "Hi <b>there</b>"}]
    (answer,) = exchange["answer"]
    assert (answer["text"], answer["reasoning"]) == ("Hello from the script", "They greet.")
    assert (exchange["script"], exchange["usage"]["total_tokens"]) == ("aquila_script", 14)
    assert "9zT4" not in json.dumps(report)

    fault, good = told["test_fault"]
    assert (fault["states"], fault["faults"], fault["status"]) == (["faulted"], ["overloaded"], 503)
    assert (good["states"], good["answer"][0]["text"]) == (["scripted"], "after all")

    (socket,) = told["test_socket"]
    assert (socket["states"], socket["answer"][0]["text"]) == (["scripted"], "over a socket")
    (forked,) = told["test_fork"]
    assert (forked["messages"][0]["text"], forked["answer"][0]["text"]) == ("from a fork", "to a fork")

    little, much, too_much, again = told["test_much"]
    assert [each["states"] for each in told["test_much"]] == [["scripted"]] * 4
    assert (little["answer"][0]["text"], again["answer"][0]["text"]) == ("little", "little again")
    assert report["bodies"][much["answer"][0]["text"]["key"]]["text"] == "x" * 20_000
    assert "answer" not in too_much
    assert too_much["error"].startswith("not kept: other processes were answered more than")


MISSES = """
import subprocess
import sys

import clients
import pytest


def ask(*arguments):
    assert subprocess.run([sys.executable, "clients.py", *arguments]).returncode != 0


def test_script(aquila_script):
    aquila_script.reply("over a socket")
    clients.talk("Hi")
    ask("chat", "nobody answers")


def test_cassette(aquila_cassette):
    ask("chat", "nobody answers")


def test_sockets(aquila_script):
    ask("talk", "nobody answers")
"""


@pytest.mark.slow
def test_what_nothing_answers_in_another_process_is_told_with_its_address(project: Project) -> None:
    project.pytester.makepyfile(clients=CLIENTS, test_everything=MISSES)
    project.run("--aquila-report=run.json").assert_outcomes(failed=3)
    report = read_report(project.pytester.path)
    chat, socket = "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/responses?model=gpt-socket"
    assert {
        test["id"].rpartition("::")[2]: {
            (each["kind"], f"https://{each['host']}{each['path']}", *each["states"]) for each in test["exchanges"]
        }
        for test in report["tests"]
    } == {
        "test_script": {("websocket", socket, "scripted"), ("http", chat, "missed")},
        "test_cassette": {("http", chat, "missed")},
        "test_sockets": {("websocket", socket, "missed")},
    }


KEYS = """
import os
import subprocess
import sys

import pytest

CHILD = '''
import os, httpx2
key, address = os.environ["ACME_API_KEY"], "https://api.openai.com/v1/"
body = {"model": "gpt-x", "messages": [{"role": "user", "content": "say " + key}]}
for path in ("chat/completions", f"chat/completions?q={key}", f"{key}/chat/completions"):
    for _ in range(2):
        httpx2.post(address + path, json=body)
'''

GRANDCHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"


@pytest.mark.parametrize("program", [[CHILD], [GRANDCHILD, CHILD]], ids=["child", "grandchild"])
@pytest.mark.aquila(faults="overloaded")
def test_key_of(program, aquila_script):
    for _ in range(3):
        aquila_script.reply("you said Zq81LmPw04kVbTnD")
    subprocess.run([sys.executable, "-c", *program], env={**os.environ, "ACME_API_KEY": "Zq81LmPw04kVbTnD"}, check=True)
"""


@pytest.mark.slow
def test_a_key_that_only_a_child_process_knows_is_in_no_report(project: Project) -> None:
    project.pytester.makepyfile(test_keys=KEYS)
    report, told = run_and_read(project, passed=2)
    for exchanges in told.values():
        assert [each["states"] for each in exchanges] == [["faulted"], ["scripted"]] * 3
        assert [each["messages"][0]["text"] for each in exchanges] == ["say [redacted]"] * 6
        assert [each["answer"][0]["text"] for each in exchanges[1::2]] == ["you said [redacted]"] * 3
    assert "Zq81LmPw04kVbTnD" not in json.dumps(report)


JOBS = """
import os

import httpx2
import pytest
from aquila.huey import SqliteHuey
from aquila.huey.testing import run_consumer, use_test_queue

huey = SqliteHuey("jobs", filename="jobs.db")
WORKERS = [
    {"worker_type": "thread", "workers": 2},
    {"worker_type": "process", "workers": 1},
    {"subprocess": "test_jobs.huey", "worker_type": "thread"},
]


@huey.task(retries=1)
def work(text):
    body = {"model": "gpt-x", "messages": [{"role": "user", "content": text}]}
    answer = httpx2.post("https://api.openai.com/v1/chat/completions", json=body)
    if answer.status_code != 200:
        key = os.environ["WORK_API_KEY"] = f"Zq81LmPw04kVbTn{os.getpid()}"  # no other process knows it
        raise ValueError(f"no answer for {key}")
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("workers", WORKERS, ids=["threads", "processes", "program"])
def test_in(workers, aquila_script):
    aquila_script.error(400).reply("done")
    with use_test_queue(huey, storage="own"), run_consumer(huey=huey, timeout=120, **workers) as consumer:
        assert consumer.wait(work("from a job")) == "done"
"""


@pytest.mark.slow
def test_jobs_of_a_real_consumer_are_told_with_their_attempts(project: Project) -> None:
    project.pytester.makepyfile(test_jobs=JOBS)
    report, _ = run_and_read(project, passed=3)
    for test in report["tests"]:
        (job,) = test["jobs"]
        attempts = [(attempt["number"], attempt["outcome"]) for attempt in job["attempts"]]
        assert attempts == [(1, "error"), (2, "complete")], test["id"]
        assert job["attempts"][0]["error"] == "ValueError: no answer for [redacted]"
        failed, good = test["exchanges"]
        assert (failed["status"], good["answer"][0]["text"]) == (400, "done")
        assert {failed["job"], good["job"]} == {job["id"]}
