"""A pytest process of 200 tests, each with a cassette of its own and two calls of an openai client.

Each test builds ``openai.OpenAI()``. A replay's floor is the same tests on ``httpx2.MockTransport``. The floor of a
recording is the same tests on the same local provider without a recorder. Every run is a whole process with one plugin
(``PYTEST_DISABLE_PLUGIN_AUTOLOAD=1`` and ``-p``), and the processes take turns.

The benchmark also measures ``import aquila``, and the start-up of pytest: one empty test with the plugin, and with an
empty plugin, because pytest searches all distributions for the plugin that ``-p`` names.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

from benchmarks.harness import QUICK, Report, Times, duration, environment, in_process, main, paired

TESTS = 40 if QUICK else 200
ROUNDS = 7

ANSWER = {
    "id": "chatcmpl-0000000000000000000000000000",
    "object": "chat.completion",
    "created": 1732450000,
    "model": "gpt-4.1-mini",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Eagles ride rising warm air and so hardly beat their wings."},
        }
    ],
    "usage": {"prompt_tokens": 40, "completion_tokens": 18, "total_tokens": 58},
}

HELPERS = """\
import httpx2
import openai

ANSWER = {answer!r}


def answer_request(request):
    return httpx2.Response(200, json=ANSWER)


def ask_twice(client, number):
    with client:
        for turn in range(2):
            answer = client.chat.completions.create(
                model="gpt-4.1-mini",
                messages=[
                    {{"role": "system", "content": "You are a patient guide to the birds of the mountains."}},
                    {{"role": "user", "content": f"Question {{number}}, {{turn}}: how do eagles fly so far?"}},
                ],
            )
            assert answer.choices[0].message.content.startswith("Eagles")
"""
MOCKED = """
def test_{number}():
    transport = httpx2.MockTransport(answer_request)
    ask_twice(openai.OpenAI(http_client=httpx2.Client(transport=transport)), {number})
"""
LIVE = """
def test_{number}():
    ask_twice(openai.OpenAI(), {number})
"""
AQUILA = """
def test_{number}(aquila_cassette):
    ask_twice(openai.OpenAI(), {number})
"""
MARKED = """
@pytest.mark.vcr
def test_{number}():
    ask_twice(openai.OpenAI(), {number})
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A way to run the tests: the source of one test, the plugin that it needs, and the options that record."""

    test: str
    distribution: str = ""
    plugin: str = ""
    record: tuple[str, ...] = ()
    replay: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether the distribution of the plugin is installed."""
        if not self.distribution:
            return True
        with contextlib.suppress(metadata.PackageNotFoundError):
            return bool(metadata.version(self.distribution))
        return False


AQUILA_SUBJECT = Subject(AQUILA, "aquila-llm", "pytest_aquila.plugin", ("--aquila-record",))
RECORDERS = {
    "aquila": AQUILA_SUBJECT,
    "pytest-recording": Subject(
        MARKED, "pytest-recording", "pytest_recording.plugin", ("--record-mode=all",), ("--record-mode=none",)
    ),
    "cassetter": Subject(
        MARKED, "cassetter", "cassetter.pytest_plugin", ("--record-mode=all",), ("--record-mode=none",)
    ),
}


class _Provider(BaseHTTPRequestHandler):
    """Gives every request the same answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing."""


@contextlib.contextmanager
def running_provider() -> Iterator[str]:
    """Run the provider in this process, whose time is not measured. Yields its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def write_project(folder: Path, test: str) -> None:
    """Write a project of tests into an empty folder."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = vcr\n")
    tests = "".join(test.format(number=number) for number in range(TESTS))
    (folder / "test_suite.py").write_text(f"import pytest\n{HELPERS.format(answer=ANSWER)}{tests}")


def run_pytest(
    folder: Path,
    plugin: str = "",
    *options: str,
    base_url: str = "http://127.0.0.1:9/v1",
    under: Sequence[str] = (),
) -> None:
    """Run pytest with one plugin or none, ``under`` another program. Raises ``RuntimeError`` if that fails."""
    pytest = [sys.executable, "-m", "pytest", "-q", "--no-header", *(["-p", plugin] if plugin else []), *options]
    command = [*under, *pytest]
    variables = {"OPENAI_API_KEY": "a-key", "OPENAI_BASE_URL": base_url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def cpu_time_of_children() -> float:
    """The CPU time, in seconds, that child processes have taken so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_replay(folder: Path, base_url: str, recorders: Mapping[str, Subject]) -> Times:
    """Record each project once, then replay it in every round, and compare with a mock transport."""
    write_project(folder / "floor", MOCKED)
    subjects: dict[str, Callable[[], object]] = {"mock transport": functools.partial(run_pytest, folder / "floor")}
    for name, subject in recorders.items():
        write_project(folder / name, subject.test)
        run_pytest(folder / name, subject.plugin, *subject.record, base_url=base_url)
        subjects[name] = functools.partial(
            run_pytest, folder / name, subject.plugin, *subject.replay, base_url=base_url
        )
    rounds = 2 * ROUNDS + 1  # to tell one or two percent from noise
    return paired(subjects, rounds=rounds, warm=1, clock=cpu_time_of_children)


def measure_recording(folder: Path, base_url: str, recorders: Mapping[str, Subject]) -> Times:
    """Record each project into an empty folder in every round, and compare with live calls without a recorder."""

    def record(name: str, subject: Subject) -> None:
        shutil.rmtree(folder / name / "cassettes", ignore_errors=True)
        run_pytest(folder / name, subject.plugin, *subject.record, base_url=base_url)

    subjects = {"live, no recorder": Subject(LIVE), **recorders}
    for name, subject in subjects.items():
        write_project(folder / name, subject.test)
    return paired(
        {name: functools.partial(record, name, subject) for name, subject in subjects.items()},
        rounds=ROUNDS,
        warm=1,
        clock=cpu_time_of_children,
    )


def measure_start_up(folder: Path) -> Times:
    """Run one empty test with the plugin, and with an empty plugin."""
    folder.mkdir()
    (folder / "no_plugin.py").write_text("")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_empty.py").write_text("def test_nothing():\n    pass\n")
    return paired(
        {
            "empty plugin": functools.partial(run_pytest, folder, "no_plugin"),
            "with the plugin": functools.partial(run_pytest, folder, AQUILA_SUBJECT.plugin),
        },
        rounds=31,
        warm=2,
        clock=cpu_time_of_children,
    )


def count_instructions(folder: Path, plugin: str) -> int:
    """Count the instructions of the process that runs one empty test, in the project of ``measure_start_up``."""
    log = folder / "valgrind.txt"
    counting = [
        "valgrind",
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
        f"--log-file={log}",
    ]
    run_pytest(folder, plugin, under=counting)
    found = re.search(r"I +refs: +([\d,]+)", log.read_text())
    if found is None:
        raise RuntimeError(f"valgrind has not counted the instructions; its log: {log.read_text()[-3000:]}")
    return int(found[1].replace(",", ""))


def report_start_up(report: Report, folder: Path) -> None:
    """Compare start-ups, by instructions if valgrind is installed, because times vary by a few percent."""
    started = measure_start_up(folder)
    report.table("One empty test: whole process, CPU time", started, base="empty plugin")
    ratio = started.ratio("with the plugin", "empty plugin")
    if shutil.which("valgrind"):
        floor, ours = (count_instructions(folder, plugin) for plugin in ("no_plugin", AQUILA_SUBJECT.plugin))
        report.note(
            f"in instructions: {floor / 1e6:,.1f} million with an empty plugin, {ours / 1e6:,.1f} with Aquila's"
        )
        ratio = ours / floor
    report.aim("one empty test", ratio, at_most=1.02, unit="x")


IMPORT = """
import json, sys, time
start = time.perf_counter()
import aquila
print(json.dumps(time.perf_counter() - start))
"""


def run(report: Report) -> None:
    """Measure."""
    recorders = {name: subject for name, subject in RECORDERS.items() if subject.is_installed}
    with tempfile.TemporaryDirectory() as name, running_provider() as base_url:
        folder = Path(name)
        (folder / "replay").mkdir()
        (folder / "record").mkdir()
        replayed = measure_replay(folder / "replay", base_url, recorders)
        report.table(f"{TESTS} tests, replayed: whole process, CPU time", replayed, base="mock transport")
        report.aim("a replayed suite", replayed.ratio("aquila", "mock transport"), at_most=1.12, unit="x")
        recorded = measure_recording(folder / "record", base_url, recorders)
        report.table(f"{TESTS} tests, recorded: whole process, CPU time", recorded, base="live, no recorder")
        report_start_up(report, folder / "start-up")
    report.heading("import aquila")
    seconds = sorted(float(str(in_process(IMPORT))) for _ in range(21))[10]
    report.note(f"{duration(seconds)} in a process that has imported nothing (median of 21)")
    report.aim("import aquila", seconds * 1e3, at_most=3, unit="ms")


if __name__ == "__main__":
    main(run)
