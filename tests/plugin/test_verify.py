"""``pytest --aquila-verify``: what the upstream answers now, beside what is recorded."""

from __future__ import annotations

import _thread
import copy
import functools
import hashlib
import json
import operator
import os
import re
import textwrap
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import openai  # so that runs within this process do not load it anew each time
import openai.types.chat
import openai.types.responses  # noqa: F401
import pytest

import aquila.verifying.verification  # noqa: F401
from aquila.settings import Settings
from pytest_aquila.run_kinds import begin_chosen_kinds
from tests.docs.snippets import has_model
from tests.support.upstream import Answer, Upstream, sse, upstream

APP = """
    import openai

    def client():
        return openai.OpenAI(base_url=URL + "/v1", api_key="made-up", max_retries=0)

    def ask(prompt, **options):
        messages = [{"role": "user", "content": prompt}]
        return client().chat.completions.create(model="m", messages=messages, **options)
"""

TESTS = """
    import pytest
    from app import *

    @pytest.mark.parametrize("prompt", PROMPTS)
    def test_whole(aquila_cassette, prompt):
        ask(prompt)

    def test_streamed(aquila_cassette):
        assert [chunk.choices for chunk in ask("streamed", stream=True)]
"""


def completion(text: str, *, finish: str = "stop", called: str = "", **changes: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if called:
        call = {"id": "call_1", "type": "function", "function": {"name": called, "arguments": "{}"}}
        message, finish = {**message, "content": None, "tool_calls": [call]}, "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [choice],
        "usage": usage,
        **changes,
    }


def chunk(**delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-1", "choices": [choice]}


def whole(value: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, chunks=[json.dumps(value).encode()])


def without(value: Any, *path: Any) -> Any:
    """The value without what stands at the end of a path."""
    copied = copy.deepcopy(value)
    holder = functools.reduce(operator.getitem, path[:-1], copied)
    del holder[path[-1]]
    return copied


def prompt_of(body: bytes) -> str:
    return str(json.loads(body)["messages"][-1]["content"])


def usual(path: str, body: bytes) -> Answer:
    asked, prompt = json.loads(body), prompt_of(body)
    if asked.get("stream"):
        chunks = sse(chunk(role="assistant", content=""), chunk(content="one two"), chunk())
        return Answer(headers={"content-type": "text/event-stream"}, chunks=chunks)
    return whole(completion(f"an answer to {prompt}"))


class VerifyProject:
    """A project with an upstream that may change."""

    def __init__(self, pytester: pytest.Pytester, server: Upstream) -> None:
        self.pytester = pytester
        self.server = server
        self.report_file = pytester.path / "report.json"
        pytester.makepyfile(app=f"URL = {server.url!r}\n" + textwrap.dedent(APP))

    def write(self, prompts: Sequence[str], tests: str = TESTS) -> None:
        self.pytester.makepyfile(test_app=f"PROMPTS = {[*prompts]!r}\n" + textwrap.dedent(tests))

    def run(self, *arguments: str) -> pytest.RunResult:
        plugins = ("-p", "no:cacheprovider", "-p", "no:xdist")
        return self.pytester.runpytest_inprocess(*plugins, *arguments, no_reraise_ctrlc=True)

    def record(self, prompts: Sequence[str], tests: str = TESTS) -> None:
        self.write(prompts, tests)
        assert self.run("--aquila-record").ret == 0
        self.server.requests.clear()
        self.server.headers.clear()

    def verify(self, *arguments: str, value: str = "") -> pytest.RunResult:
        return self.run(f"--aquila-verify{value}", "--aquila-verify-json=report.json", *arguments)

    @property
    def report(self) -> Any:
        return json.loads(self.report_file.read_text())

    def hash_of_cassettes(self) -> str:
        files = sorted(path for path in (self.pytester.path / "cassettes").rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[VerifyProject]:
    for variable in ("CI", "BUILD_NUMBER", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    pytester.syspathinsert()
    with upstream(usual) as server:
        yield VerifyProject(pytester, server)


@pytest.mark.slow
def test_what_is_the_same_is_reported_so_and_nothing_changes_on_disk(project: VerifyProject) -> None:
    project.record(["one", "two"])
    before = project.hash_of_cassettes()
    result = project.verify()
    assert result.ret == 0
    assert (len(project.server.requests), project.hash_of_cassettes()) == (3, before)
    result.stdout.fnmatch_lines(
        [
            "aquila: verify: 3 requests (about 14 tokens) to 127.0.0.1",
            "aquila: verify: 3 recordings: 3 the same; answers: 3 identical; 14 tokens and * s then, 14 and * s now",
            "aquila: 3 replayed, 0 recorded, 0 missed*",
        ]
    )
    row = project.report["recordings"][0]
    assert row.pop("recorded")
    assert row.pop("request").endswith("/v1/chat/completions")
    assert {*row.pop("then"), *row.pop("now")} == {"status", "tokens", "milliseconds", "model"}
    assert row == {
        "cassette": "cassettes/test_app/test_streamed.yaml",
        "number": 1,
        "tests": ["test_app.py::test_streamed"],
        "result": "same",
        "reason": "",
        "findings": [],
        "answer": {"likeness": "identical", "similarity": 1.0, "detail": ""},
    }


CHANGED = {
    "retired": whole({"error": {"message": "The model m does not exist", "code": "model_not_found"}}, 404),
    "required gone": whole(without(completion("x"), "choices", 0, "message", "role")),
    "optional new": whole({**completion("x"), "safety": None}),
    "type": whole(completion("x", created="yesterday")),
    "busy": whole({"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}, 429),
    "reworded": whole(completion("another answer to reworded")),
    "called": whole(completion("", called="look_up")),
    "no text": whole(completion("")),
    "cut": whole(completion("an answer to cut", finish="length")),
    "dead": Answer(breaks=True),
}


@pytest.mark.slow
def test_what_has_changed_is_told_by_its_weight(project: VerifyProject) -> None:
    project.record(list(CHANGED))
    project.server.script = lambda path, body: CHANGED.get(prompt_of(body)) or usual(path, body)
    result = project.verify()
    assert result.ret == 9
    result.stdout.fnmatch_lines(
        [
            "aquila: verify: 11 requests *",
            "aquila: verify: critical: refused: 404 model_not_found: The model m does not exist "
            "[[]cassettes/test_app/test_whole-retired.yaml 1]",
            "aquila: verify: note: safety: new, null; the SDK does not know it *",
            "aquila: verify: other tool calls: look_up, was none *",
            "aquila: verify: text gone: none, was 5 words *",
            "aquila: verify: not asked: the upstream answered 429 rate_limit_exceeded: Slow down *",
            "aquila: verify: 11 recordings: 5 the same, 1 with other fields, 3 critical, 2 not asked; answers: *",
        ]
    )
    rows = {each["tests"][0].partition("[")[2].rstrip("]"): each for each in project.report["recordings"]}
    assert {name: row["result"] for name, row in rows.items()} == {
        **dict.fromkeys(("", "reworded", "called", "no text", "cut"), "same"),
        **dict.fromkeys(("retired", "required gone", "type"), "critical"),
        "optional new": "note",
        **dict.fromkeys(("busy", "dead"), "not_asked"),
    }
    assert [each["path"] for each in rows["required gone"]["findings"]] == ["choices[].message.role"]
    assert rows["type"]["findings"][0]["text"] == "string, was number; the SDK expects number"
    assert rows["reworded"]["answer"] == {"likeness": "reworded", "similarity": 0.75, "detail": ""}
    assert rows["cut"]["answer"]["likeness"] == "other finish reason"
    assert "RemoteProtocolError" in rows["dead"]["reason"]
    assert project.report["totals"]["critical"] == 3


@pytest.mark.slow
def test_a_failing_test_keeps_its_exit_code_and_what_it_played_is_asked(project: VerifyProject) -> None:
    project.record(["one"])
    project.write(["one"], TESTS + "        assert False\n")
    project.server.script = lambda path, body: whole(completion("x"), 404)
    assert project.verify().ret == 1
    assert len(project.server.requests) == 2


@pytest.mark.slow
def test_a_sample_takes_the_oldest_first(project: VerifyProject) -> None:
    project.record(["one", "two", "three"])
    old = project.pytester.path / "cassettes" / "test_app" / "test_whole-two.yaml"
    old.write_text(re.sub(r"at: 20\d\d-", "at: 2020-", old.read_text()))
    for value, count in (("=1", 1), ("=50%", 2)):
        project.server.requests.clear()
        result = project.verify(value=value)
        result.stdout.fnmatch_lines([f"aquila: verify: skipped: {4 - count} recordings: not in the sample"])
        assert "two" in map(prompt_of, (body for _, body in project.server.requests))
        assert len(project.server.requests) == count


def test_a_sealed_run_refuses_to_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    chosen = SimpleNamespace(aquila_report=None, aquila_verify="100%")
    config: Any = SimpleNamespace(pluginmanager=None, workerinput={}, getoption=lambda name: None, option=chosen)
    layers = SimpleNamespace(at_start=lambda: Settings(guard="sealed"), resolve=lambda: Settings(guard="sealed"))
    with pytest.raises(pytest.UsageError, match="--aquila-verify asks"):
        begin_chosen_kinds(config, SimpleNamespace(layers=layers))  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_interruption_reports_what_was_answered_until_then(project: VerifyProject) -> None:
    project.record(["one", "two"])
    answered = threading.Event()

    def script(path: str, body: bytes) -> Answer:
        if prompt_of(body) == "two":
            _thread.interrupt_main()  # as Ctrl-C does
            answered.wait(60)
        return usual(path, body)

    project.server.script = script
    try:
        result = project.verify()
    finally:
        answered.set()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "aquila: verify: not asked: interrupted before it was answered *test_whole-two.yaml 1*",
            "aquila: verify: interrupted; what was answered until then is above",
        ]
    )
    assert project.report["interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "status", "said"),
    [
        (
            "def test_it(): raise KeyboardInterrupt",
            pytest.ExitCode.INTERRUPTED,
            "nothing was asked, because the run ended early",
        ),
        (
            "import pytest\ndef test_it(): pytest.exit('enough', returncode=0)",
            pytest.ExitCode.OK,
            "nothing was asked, because the run ended early",
        ),
        ("import no_such_module", pytest.ExitCode.INTERRUPTED, "nothing was asked, because the run ended early"),
        ("", pytest.ExitCode.NO_TESTS_COLLECTED, "nothing to ask"),
    ],
    ids=["interrupted", "ended", "not collected", "none"],
)
def test_nothing_is_asked_where_the_tests_were_interrupted_or_there_are_none(
    tests: str, status: int, said: str, project: VerifyProject
) -> None:
    project.write([], tests)
    result = project.verify()
    assert result.ret == status
    result.stdout.fnmatch_lines([f"aquila: verify: {said}"])
    assert project.server.requests == []


FORKS = """
    def test_forks():
        import os, sys
        if (child := os.fork()) == 0:
            sys.exit("caught by pytest as a failure")
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_goes_on_with_the_run_asks_and_writes_nothing(project: VerifyProject) -> None:
    project.pytester.makeconftest(
        """
        import os, sys

        def pytest_unconfigure(config, process=os.getpid()):
            if process != os.getpid():
                os._exit(os.path.exists("unused.json"))
        """
    )
    project.record(["one"], TESTS + FORKS)
    assert project.verify("--aquila-orphans=unused.json").ret == 0
    assert len(project.server.requests) == 2


ON_THE_LOCAL_MODEL = """
    import aquila, pytest

    @pytest.mark.parametrize("endpoint", ["chat", "responses"])
    def test_local(aquila_cassette, endpoint):
        options = dict(endpoint=endpoint, temperature=0, max_output_tokens=8, timeout=120)
        assert aquila.ask("Name a bird.", **options).text
        with aquila.stream("Name a fish.", **options) as stream:
            assert list(stream)
"""


@pytest.mark.slow
@pytest.mark.local_model
@pytest.mark.skipif(not has_model(), reason="the embedded model is not installed")
def test_a_model_that_answers_the_same_twice_has_the_same_shape(project: VerifyProject) -> None:
    project.write([], ON_THE_LOCAL_MODEL)
    run = functools.partial(project.pytester.runpytest_subprocess, "-p", "no:cacheprovider", "-p", "no:xdist")
    assert run("--aquila-record", "--aquila-upstream=local").ret == 0
    before = project.hash_of_cassettes()
    result = run("--aquila-verify", "--aquila-verify-json=report.json")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["aquila: verify: 4 requests (about * tokens) to the upstream local"])
    assert [(row["result"], row["answer"]["likeness"]) for row in project.report["recordings"]] == [
        ("same", "identical")
    ] * 4
    assert project.hash_of_cassettes() == before


EVERYWHERE = """
    import asyncio, subprocess, sys, threading
    import aquila, aquila.huey, openai, pytest, requests
    from app import *

    queue = aquila.huey.MemoryHuey(immediate=False)

    @queue.task()
    def job(prompt):
        return ask(prompt).choices[0].message.content

    @pytest.fixture
    def aquila_huey():
        return queue

    @pytest.mark.parametrize("way", ["async", "requests", "task", "thread", "stream", "child"])
    def test_it(aquila_cassette, perform_job, way):
        if way == "async":
            chat = openai.AsyncOpenAI(base_url=URL + "/v1", api_key="made-up").chat
            asyncio.run(chat.completions.create(model="m", messages=[{"role": "user", "content": way}]))
        elif way == "requests":
            body = {"model": "m", "messages": [{"role": "user", "content": way}]}
            requests.post(URL + "/v1/chat/completions", json=body)
        elif way == "task":
            perform_job(job, way)
        elif way == "thread":
            thread = threading.Thread(target=ask, args=(way,))
            thread.start()
            thread.join()
        elif way == "stream":
            with aquila.stream(way, model="m", base_url=URL + "/v1", api_key="made-up") as stream:
                assert list(stream)
        else:
            subprocess.run([sys.executable, "-c", f"import app; app.ask({way!r})"], check=True)

    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.aquila("shared", repeat="last")
    def test_shared(number):
        ask("shared")
"""


@pytest.mark.slow  # workers, and a child process
def test_each_recording_is_verified_once_by_the_controller_whoever_played_it(project: VerifyProject) -> None:
    project.write([], EVERYWHERE)
    run = functools.partial(project.pytester.runpytest_subprocess, "-p", "no:cacheprovider", "-n2")
    assert run("--aquila-record").ret == 0
    project.server.requests.clear()
    before = project.hash_of_cassettes()
    result = run("--aquila-verify", "--aquila-verify-json=report.json")
    assert result.ret == 0
    prompts = sorted(prompt_of(body) for _, body in project.server.requests)
    assert prompts == ["async", "child", "requests", "shared", "stream", "task", "thread"]
    assert project.hash_of_cassettes() == before
    rows = {row["cassette"]: row for row in project.report["recordings"]}
    assert {row["result"] for row in rows.values()} == {"same"}
    assert len(rows["cassettes/shared.yaml"]["tests"]) == 4
