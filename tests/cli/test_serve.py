"""The command ``aquila serve``: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cli import main, serve
from aquila.cli.project import Project
from aquila.errors import CassetteNameError
from aquila.server import background_server
from tests.support.clients import body
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream, chat_chunks, streamed, upstream

KEY = "sk-" + "the-servers-key-0123456789"


@pytest.fixture
def provider(root: Path) -> Iterator[Upstream]:
    with upstream(lambda path, body: streamed("one two three")) as running:
        yield running


class Command:
    """``aquila serve`` as a process of its own. ``lines`` are those that it printed before it served."""

    def __init__(self, provider: Upstream, folder: Path, *options: str, **variables: str) -> None:
        names = ("AQUILA_RUN", "PYTHONPATH", "OPENAI_API_KEY", "OPENAI_BASE_URL")
        surroundings = {name: value for name, value in os.environ.items() if name not in names}
        words = ["serve", *options, "--cassette", "x", "--port", "0"]
        if not {"--upstream", "OPENAI_BASE_URL", "AQUILA_UPSTREAM"} & {*options, *variables}:
            words += ["--upstream", provider.url]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aquila", *words],
            cwd=folder,
            env={**surroundings, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = [self._read_line()]
        self.url = self.lines[0].split("OPENAI_BASE_URL=")[1].strip()

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def read_token(self) -> str:
        line = self._read_line()
        return line.split("OPENAI_API_KEY=")[1].strip()

    def end(self, how: signal.Signals) -> tuple[str, str]:
        self.process.send_signal(how)
        said, logged = self.process.communicate(timeout=240)
        assert self.process.returncode == 0
        return said.strip(), logged


@contextlib.contextmanager
def command(provider: Upstream, folder: Path, *options: str, **variables: str) -> Iterator[Command]:
    running = Command(provider, folder, *options, **variables)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("options", "mode", "recorded", "outcome", "end"),
    [
        (["--record"], "record what is missing", 1, "recorded", signal.SIGTERM),
        pytest.param(["--record=all"], "record everything", 1, "recorded", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param([], "replay", 0, "missed", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_it_serves_until_it_is_ended_and_logs_each_request(
    options: list[str],
    mode: str,
    recorded: int,
    outcome: str,
    end: signal.Signals,
    provider: Upstream,
    root: Path,
    tmp_path: Path,
) -> None:
    with command(provider, tmp_path, *options) as running:
        assert f"({mode})" in running.lines[0]
        asked = ["-H", "content-type: application/json", "-d", json.dumps(body("hi"))]
        done = subprocess.run(
            ["curl", "-sS", f"{running.url}/chat/completions?key={KEY}", *asked], capture_output=True, check=True
        )
        assert (done.stdout == b"".join(chat_chunks("one two three"))) == bool(recorded)
        said, logged = running.end(end)
    assert said == f"{recorded} recorded"
    status = 200 if recorded else 404
    line = rf"POST /v1/chat/completions\?key=\S*redacted\S* {status} {outcome} \d+ ms\n"
    assert re.fullmatch(line, logged), logged
    assert (root / "x.yaml").exists() == bool(recorded)


@pytest.mark.parametrize("path", ["/v1beta/openai", pytest.param("/openai/v1/", marks=pytest.mark.slow)])
def test_the_base_url_of_the_environment_is_the_upstream_with_its_whole_path(
    path: str, provider: Upstream, root: Path, tmp_path: Path
) -> None:
    base_url = provider.url + path
    with command(provider, tmp_path, "--record", OPENAI_BASE_URL=base_url) as running:
        assert httpx2.post(f"{running.url}/chat/completions", json=body("hi")).status_code == 200
        running.end(signal.SIGTERM)
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert interaction.request.url == f"{base_url.rstrip('/')}/chat/completions"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "variables"),
    [(["--upstream", "canned:transport"], {}), ([], {"AQUILA_UPSTREAM": "canned:transport"})],
)
def test_a_transport_can_be_the_upstream_and_its_recordings_name_it(
    options: list[str], variables: dict[str, str], provider: Upstream, root: Path, tmp_path: Path
) -> None:
    answer = "httpx2.MockTransport(lambda request: httpx2.Response(200, json={}))"
    (tmp_path / "canned.py").write_text(f"import httpx2\n\ndef transport():\n    return {answer}\n")
    with command(provider, tmp_path, "--record", *options, **variables) as running:
        assert httpx2.post(f"{running.url}/chat/completions", json=body("hi")).status_code == 200
        with pytest.raises(InvalidStatus) as refused, connect(f"ws{running.url[4:]}/realtime", proxy=None):
            pass
        running.end(signal.SIGTERM)
    told = json.loads(refused.value.response.body or b"")["error"]["message"]
    assert told.endswith("\n\nA cassette that was recorded from the provider answers it.")  # and no word of a test
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert interaction.upstream == "canned:transport"


@pytest.mark.slow
def test_a_script_answers_before_the_cassette_and_restarts_at_a_reset(
    provider: Upstream, root: Path, tmp_path: Path
) -> None:
    script = tmp_path / "numbers.yaml"
    script.write_text("script:\n- reply: by hand\n")
    with command(provider, tmp_path, "--record", "--script", str(script)) as running:

        def ask() -> str:
            asked = {key: value for key, value in body("hi").items() if key != "stream"}
            return httpx2.post(f"{running.url}/chat/completions", json=asked).text

        assert "by hand" in ask()
        assert "one two three" in "".join(re.findall(r'"content": ?"([^"]*)"', ask()))
        httpx2.post(f"{running.url.removesuffix('/v1')}/_aquila/reset").raise_for_status()
        assert "by hand" in ask()
        assert running.end(signal.SIGINT)[0] == "1 recorded"
    assert len(load_cassette(root / "x.yaml").interactions) == 1


@pytest.mark.slow
def test_it_can_be_quiet_and_still_warns(provider: Upstream, tmp_path: Path) -> None:
    with command(provider, tmp_path, "--record", "--quiet") as running:
        httpx2.post(f"{running.url}/chat/completions", json=body("hi"))
        provider.script = lambda path, asked: Answer(breaks=True)
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.post(f"{running.url}/chat/completions", json=body("ho"))
        said, logged = running.end(signal.SIGINT)
    assert said == "2 recorded"
    assert re.fullmatch(r"an answer broke off: RemoteProtocolError: .*\n", logged), logged


@pytest.mark.slow
def test_whole_answers_are_stored_although_clients_are_still_connected(
    provider: Upstream, root: Path, tmp_path: Path
) -> None:
    done = threading.Event()
    with command(provider, tmp_path, "--record") as running, httpx2.Client() as client:
        client.post(f"{running.url}/chat/completions", json=body("whole"))
        provider.script = lambda path, asked: streamed("one two three", before_chunk=lambda n: n < 2 or done.wait(60))
        with (
            contextlib.suppress(httpx2.HTTPError),
            client.stream("POST", f"{running.url}/chat/completions", json=body("cut off")) as answer,
        ):
            received, chunks = b"", answer.iter_raw()  # kept: a dropped one closes the answer
            while b"one" not in received:
                received += next(chunks)
            running.process.send_signal(signal.SIGTERM)
            said, logged = running.process.communicate(timeout=240)
            done.set()
            assert "200 server ended" in logged
        assert (running.process.returncode, said.splitlines()[-1]) == (0, "1 recorded")
    (whole,) = load_cassette(root / "x.yaml").interactions  # a replay of the other one would never end
    assert whole.response.end == "complete"


@pytest.mark.parametrize("options", slow_but([["--host", "0.0.0.0"]], [[], ["--host", "0.0.0.0"]]))
@pytest.mark.slow
def test_the_token_is_printed_and_replaced_by_the_servers_key(
    options: list[str], provider: Upstream, root: Path, tmp_path: Path
) -> None:
    with command(provider, tmp_path, "--record", *options, OPENAI_API_KEY=KEY) as running:
        assert "//127.0.0.1:" in running.url
        token = running.read_token()
        for key, status in ((token, 200), ("aquila-no-key", 401), ("another-token", 401 if options else 200)):
            asked = {"json": body(key[:7]), "headers": {"authorization": f"Bearer {key}"}}
            assert httpx2.post(f"{running.url}/chat/completions", **asked).status_code == status
        said, logged = running.end(signal.SIGTERM)
    assert provider.headers[0]["authorization"] == f"Bearer {KEY}"
    assert len(provider.headers) == (1 if options else 2)
    assert token not in said + logged + (root / "x.yaml").read_text()


@pytest.mark.slow
def test_a_token_of_the_users_is_not_printed_and_is_always_needed(provider: Upstream, tmp_path: Path) -> None:
    token = "a-token-of-the-users"
    with command(provider, tmp_path, AQUILA_SERVER_TOKEN=token) as running:
        assert running.read_token() == "the token of AQUILA_SERVER_TOKEN"
        for key, status in ((token, 404), ("another", 401)):
            asked = {"json": body("hi"), "headers": {"authorization": f"Bearer {key}"}}
            assert httpx2.post(f"{running.url}/chat/completions", **asked).status_code == status
        assert token not in "".join(running.end(signal.SIGTERM))


@pytest.mark.slow
def test_other_host_names_than_the_allowed_ones_are_refused(provider: Upstream, tmp_path: Path) -> None:
    with command(provider, tmp_path, "--allow-host", "host.docker.internal") as running:
        for host, status in (("host.docker.internal:8377", 404), ("evil.example", 403)):
            asked = {"json": body("hi"), "headers": {"host": host}}
            assert httpx2.post(f"{running.url}/chat/completions", **asked).status_code == status
        assert (
            httpx2.post(f"{running.url}/chat/completions", **asked)
            .json()["error"]["message"]
            .endswith("start the server with --allow-host evil.example")
        )


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], "aquila serve --record"),
        (["--cassette", "web/check out"], "aquila serve --record --cassette 'web/check out'"),
        (["--dir", "kept", "--port", "0"], "aquila serve --record --dir kept"),
        (["--upstream", "https://api.anthropic.com"], "aquila serve --record --upstream https://api.anthropic.com"),
        (["--script", "a b.yaml", "--port", "8000"], "aquila serve --record --script 'a b.yaml' --port 8000"),
        (
            ["--host", "0.0.0.0", "--allow-host", "one", "--allow-host", "two", "--tls", "both.pem", "--quiet"],
            "aquila serve --record --host 0.0.0.0 --allow-host one --allow-host two --tls both.pem",
        ),
    ],
)
def test_the_command_that_a_miss_suggests_has_all_options(given: list[str], command: str) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    assert serve.record_command(parser.parse_args(given)) == command


def test_a_cassette_can_be_given_by_its_file_before_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, file = Project(tmp_path, tmp_path / "kept"), tmp_path / "kept" / "web" / "shop.yaml"
    for given in ("web/shop", "kept/web/shop.yaml", f"../{tmp_path.name}/kept/web/shop.yaml", str(file)):
        assert serve.name_of_cassette(given, here) == "web/shop"
    with pytest.raises(CassetteNameError):
        serve.name_of_cassette(str(tmp_path / "shop.yaml"), here)


def test_the_option_json_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--json"]) == 2
    assert "unrecognized arguments: --json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "token", "reason"),
    [
        (["--port", "99999999"], "", "there is no port 99999999: the largest is 65535"),
        (["--port", "-1"], "", "there is no port -1"),
        (["--host", "no such host"], "", "'no such host' is not the name of a host"),
        (["--host", "x" * 300], "", "cannot listen on xxx"),
        (["--host", "192.0.2.1"], "", "cannot listen on 192.0.2.1:8377"),
        (
            ["--host", "192.0.2.1", "--record", "--upstream", "http://localhost:8377"],  # another server than this one
            "",
            "cannot listen on 192.0.2.1:8377",
        ),
        (
            ["--host", "::", "--record", "--upstream", "http://localhost:8377"],
            "",
            "http://localhost:8377 is this server",
        ),
        (["--host", "0.0.0.0"], "short", "AQUILA_SERVER_TOKEN is too short"),
        ([], "with a space and long", "AQUILA_SERVER_TOKEN may have letters"),
        (["--allow-host", "http://x"], "", "'http://x' is not the name of a host"),
        (["--max-body", "0"], "", "--max-body 0 refuses every request"),
        (["--cassette", "x" * 300], "", "is too long: at most 200 bytes"),
        (["--cassette", "../x"], "", "leaves the cassette folder"),
        (["--cassette", ".journal/x"], "", "is Aquila's own"),
        (["--dir", "a", "--dir", "b"], "", "give --dir once"),
        (["--dir", __file__], "", "test_serve.py is no folder of cassettes; name one with --dir"),
        (["--script", "none.yaml"], "", "--script none.yaml: there is no such file"),
        (["--record", "--upstream", "http://[::1]:8377/v1"], "", "--upstream http://[::1]:8377/v1 is this server"),
        (["--record", "--allow-host", "box", "--port", "80"], "", "OPENAI_BASE_URL http://box/v1 is this server"),
        (["--tls", "none.pem"], "", "--tls none.pem is not a PEM file with a certificate and its key: "),
        (["--tls", __file__], "", "is not a PEM file with a certificate and its key: "),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    options: list[str], token: str, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_SERVER_TOKEN", token)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://box/v1")
    monkeypatch.setattr(background_server, "make_server", None)  # A test fails rather than serve for ever.
    assert main(["serve", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("aquila: ")
    assert reason in said.err
    assert said.err.count("\n") == 1
