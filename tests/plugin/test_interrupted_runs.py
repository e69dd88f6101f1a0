"""A stream that an interruption or a failure cut off is not stored as one that its program closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquila.cassettes.storage import cassette_files
from tests.support.slow import nightly_but
from tests.support.upstream import Answer, Upstream, streamed, upstream

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

STREAMED = """
import functools, os, threading
import httpx2

@functools.cache
def make_client():
    import openai

    return openai.OpenAI(api_key="not needed", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0)

def tell():
    os.write(int(os.environ["TELL"]), b".")

def words(stream):
    for chunk in stream:
        yield (chunk.choices[0].delta.content or "") if chunk.choices else ""

def ask(prompt):
    messages = [{"role": "user", "content": prompt}]
    return make_client().chat.completions.create(model="m", messages=messages, stream=True)
"""

TESTS = {
    "httpx2": """
def test_a_stream(aquila_cassette):
    url = os.environ["PROVIDER"] + "/v1/chat/completions"
    with httpx2.stream("POST", url, json={"prompt": "eagles"}, timeout=60) as answer:
        events = []
        for line in answer.iter_lines():
            events += [line] if line else []
            if line and len(events) == 2:
                tell()
    assert events[-1] == "data: [DONE]"
""",
    "with": """
def test_a_stream(aquila_cassette):
    with ask("eagles") as stream:
        arriving = words(stream)
        taken = [next(arriving), next(arriving)]
        tell()
        taken += arriving
    assert "".join(taken) == "one two three"
""",
    "generator": """
def test_a_stream(aquila_cassette):
    taken = []
    for word in words(ask("eagles")):
        taken.append(word)
        if len(taken) == 2:
            tell()
    assert "".join(taken) == "one two three"
""",
    "async": """
import asyncio, openai

async def main():
    messages = [{"role": "user", "content": "eagles"}]
    taken = []
    async with openai.AsyncOpenAI(api_key="-", base_url=make_client().base_url, max_retries=0) as asynchronous:
        async for chunk in await asynchronous.chat.completions.create(model="m", messages=messages, stream=True):
            taken.append((chunk.choices[0].delta.content or "") if chunk.choices else "")
            if len(taken) == 2:
                tell()
    return taken

def test_a_stream(aquila_cassette):
    assert "".join(asyncio.run(main())) == "one two three"
""",
    "thread": """
def read(stop, taken):
    url = os.environ["PROVIDER"] + "/v1/chat/completions"
    with httpx2.stream("POST", url, json={"prompt": "eagles"}, timeout=60) as answer:
        for line in filter(None, answer.iter_lines()):
            taken.append(line)
            if len(taken) == 2:
                tell()
            if stop.is_set():
                return  # in good order, because the test was told to end

def test_a_stream(aquila_cassette):
    stop, taken = threading.Event(), []
    reader = threading.Thread(target=read, args=(stop, taken))
    reader.start()
    try:
        reader.join()
    finally:
        stop.set()
        tell()
        reader.join()
    assert taken[-1] == "data: [DONE]"
""",
    "ask": """
import aquila

def test_a_stream(aquila_cassette):
    with aquila.stream("eagles", base_url=os.environ["PROVIDER"] + "/v1", endpoint="chat", api_key="-") as stream:
        taken = []
        for event in stream:
            if isinstance(event, aquila.Chunk):
                taken.append(event.text)
                if len(taken) == 1:
                    tell()
    assert "".join(taken) == "one two three"
""",
}


class Interrupted:
    """A project whose provider holds back the end of its first answer until the run has been ended."""

    def __init__(self, folder: Path, server: Upstream) -> None:
        self.folder = folder
        self.server = server
        self.goes_on = threading.Event()
        server.script = lambda path, body: streamed("one two three", before_chunk=self._hold_back)

    def _hold_back(self, number: int) -> None:
        if number == 2:
            self.goes_on.wait(60)

    def start(self, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start a run; what the test writes with ``tell`` can be read from the descriptor."""
        reads, writes = os.pipe()
        environment = {**os.environ, "PROVIDER": self.server.url, "TELL": str(writes)}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            pass_fds=[writes],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(writes)
        return process, reads

    def run(self, *arguments: str) -> str:
        """Run to the end. Return the exit code and the output as one text."""
        process, reads = self.start(*arguments)
        output = process.communicate(timeout=240)[0].decode()
        os.close(reads)
        return f"exit {process.returncode}\n{output}"

    def end_run(self, how: int, *arguments: str) -> int:
        """Run until the test reads the stream, and end it with a signal."""
        process, reads = self.start(*arguments)
        assert os.read(reads, 1) == b"."
        process.send_signal(how)
        os.read(reads, 1)  # until a thread that reads on has been told to stop, or the run has ended
        self.goes_on.set()
        process.communicate(timeout=240)
        os.close(reads)
        return process.returncode

    def stored(self, pattern: str = "**/*.yaml") -> list[tuple[str, str]]:
        """The end of each stored answer, by file."""
        files = sorted((self.folder / "cassettes").glob(pattern))
        return [
            (path.name, row.response.end) for path in files for row in cassette_files.load_cassette(path).interactions
        ]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Interrupted]:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    with upstream(lambda path, body: streamed("one two three")) as server:
        made = Interrupted(tmp_path, server)
        yield made
        made.goes_on.set()


# Only SIGINT lets the program of a test go on, so only there it matters how it reads.
ENDS = [*((program, "SIGINT") for program in TESTS), ("with", "SIGTERM"), ("with", "SIGKILL")]
BY_DAY = [("httpx2", "SIGINT"), ("async", "SIGINT"), ("thread", "SIGINT"), ("with", "SIGKILL")]


@pytest.mark.parametrize(("program", "how"), nightly_but(BY_DAY, ENDS, of_several_names=True))
def test_the_next_recording_run_asks_again_and_its_cassette_replays(
    project: Interrupted, program: str, how: str
) -> None:
    number = signal.Signals[how]
    (project.folder / "test_x.py").write_text(STREAMED + TESTS[program])
    assert project.end_run(number, "--aquila-record") in (-number, 2)
    again = project.run("--aquila-record")
    assert again.startswith("exit 0"), again
    assert project.stored() == [("test_a_stream.yaml", "complete")]
    assert len(project.server.requests) == 2
    replay = project.run()
    assert replay.startswith("exit 0"), replay
    assert len(project.server.requests) == 2


FAILS = """
def test_a_stream(aquila_cassette):
    with ask("left on purpose") as stream:
        assert next(words(stream)) == ""
    with ask("eagles") as stream:
        for word in words(stream):
            assert word in os.environ["EXPECTED"]
"""


@pytest.mark.slow
def test_of_a_failed_test_only_the_stream_that_it_closed_on_purpose_is_kept_as_pending(
    project: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.goes_on.set()
    monkeypatch.setenv("EXPECTED", "one ")
    (project.folder / "test_x.py").write_text(STREAMED + FAILS)
    failed = project.run("--aquila-record")
    assert failed.startswith("exit 1"), failed
    assert project.stored() == [("test_a_stream.pending.yaml", "closed")]
    accepted = subprocess.run(
        [sys.executable, "-m", "aquila", "cassettes", "accept", "--yes"],
        cwd=project.folder,
        capture_output=True,
        check=True,
    )
    assert accepted.returncode == 0
    monkeypatch.setenv("EXPECTED", "one two three")
    for arguments in (["--aquila-record"], []):
        result = project.run(*arguments)
        assert result.startswith("exit 0"), result
    assert [end for _, end in project.stored()] == ["closed", "complete"]
    assert len(project.server.requests) == 3


@pytest.mark.slow
def test_a_stream_that_a_passing_test_left_because_of_an_exception_is_kept(project: Interrupted) -> None:
    project.goes_on.set()
    program = """
import pytest

def test_a_stream(aquila_cassette):
    with pytest.raises(ZeroDivisionError), ask("eagles") as stream:
        for word in words(stream):
            1 / 0
"""
    (project.folder / "test_x.py").write_text(STREAMED + program)
    for arguments in (["--aquila-record"], []):
        result = project.run(*arguments)
        assert result.startswith("exit 0"), result
    assert project.stored() == [("test_a_stream.yaml", "closed")]
    assert len(project.server.requests) == 1


FINISHES_ONE = """
def test_a_stream(aquila_cassette):
    assert "".join(words(ask("ravens"))) == "one two three"
    with ask("eagles") as stream:
        assert "".join(words(stream)) == "one two three"
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["-n2"]], ids=["one process", "workers"])
def test_after_ctrl_c_the_last_lines_say_what_waits_and_what_takes_it_over(
    project: Interrupted, arguments: list[str]
) -> None:
    """A terminal sends the signal to all processes of the run."""
    if arguments:
        pytest.importorskip("xdist")
    held, reached = project.server.script, threading.Event()

    def answer(path: str, body: bytes) -> Answer:
        if b"eagles" not in body:
            return streamed("one two three")
        reached.set()
        return held(path, body)

    project.server.script = answer
    (project.folder / "test_x.py").write_text(STREAMED + FINISHES_ONE)
    process, reads = project.start("--aquila-record", *arguments)
    assert reached.wait(240)
    os.close(reads)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=240)[0].decode()
    project.goes_on.set()
    lines = [line for line in output.splitlines() if line.startswith("aquila: ")]
    assert (
        "aquila: 1 recording waits in cassettes/.journal: test_x/test_a_stream (1). The next "
        "recording run (pytest --aquila-record) takes it over; to do it now: aquila cassettes accept"
    ) in lines, output
    project.run("--aquila-record")
    assert project.stored() == [("test_a_stream.yaml", "complete"), ("test_a_stream.yaml", "complete")]
    assert len(project.server.requests) == 3


ASKS_AGAIN = """
def post(prompt):
    return httpx2.post(os.environ["PROVIDER"] + "/v1/chat/completions", json={"prompt": prompt}, timeout=60).status_code

def test_asking_again(aquila_cassette):
    assert [post("hawks"), post("hawks")] == [500, 200]  # the program's own second try: both are its story
    while post("eagles") == 429:
        tell()
        threading.Event().wait(60)  # before it asks again
"""

CLIENT_TRIES_AGAIN = """
def test_asking_again(aquila_cassette):
    url = os.environ["PROVIDER"] + "/v1/chat/completions"
    assert [httpx2.post(url, json={"prompt": "hawks"}).status_code for _ in range(2)] == [500, 200]
    tries = []

    def note(request):
        tries.append(request)
        if len(tries) == 3:
            tell()

    with httpx2.Client(event_hooks={"request": [note]}) as http:
        client = make_client().with_options(max_retries=9, http_client=http)
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "eagles"}])
"""

IS_ANSWERED = """
def test_asking_again(aquila_cassette):
    url = os.environ["PROVIDER"] + "/v1/chat/completions"
    assert [httpx2.post(url, json={"prompt": "hawks"}).status_code for _ in range(2)] == [500, 200]
    status = 429
    while status == 429:
        with httpx2.stream("POST", url, json={"prompt": "eagles"}, timeout=60) as answer:
            status = answer.status_code
            for number, _ in enumerate(answer.iter_bytes(), 1):
                if number == 2 and status == 200:
                    tell()
"""


@pytest.mark.parametrize(
    ("tests", "failures"),
    [(ASKS_AGAIN, 1), (IS_ANSWERED, 1), (CLIENT_TRIES_AGAIN, 2)],
    ids=["waits", "is answered", "tries a third time"],
)
@pytest.mark.parametrize("how", nightly_but(["SIGINT"], ["SIGINT", "SIGKILL"]))
def test_a_failure_after_which_an_interrupted_program_would_have_asked_again_is_not_taken_over(
    project: Interrupted, how: str, tests: str, failures: int
) -> None:
    """Otherwise every later run, also one that records, would be given that failure."""
    statuses = {b"hawks": [500, 200], b"eagles": [*[429] * failures, 200, 200]}
    held_back = project.server.script

    def answer(path: str, body: bytes) -> Answer:
        status = next(left for prompt, left in statuses.items() if prompt in body).pop(0)
        soon = {"retry-after-ms": "1"}
        return Answer(status, headers=soon) if b"hawks" in body or status == 429 else held_back(path, body)

    project.server.script = answer
    (project.folder / "test_x.py").write_text(STREAMED + tests)
    project.end_run(getattr(signal, how), "--aquila-record")
    output = project.run("--aquila-record")
    assert output.startswith("exit 0"), output
    (path,) = (project.folder / "cassettes").rglob("*.yaml")
    assert [row.response.status for row in cassette_files.load_cassette(path).interactions] == [500, 200, 200]
    assert project.run().startswith("exit 0")
