"""The wheels of the library and the plugin: what is in them, and that they work where nothing else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.test_layers import SOURCE

ROOT = SOURCE.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / ".git").exists() or shutil.which("git") is None, reason="a clean clone needs git and a checkout"
    ),
]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "AQUILA_"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "project"
    done = run("git", "clone", "--quiet", ROOT, folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


def build_wheel(project: Path) -> Path:
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (project / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(clone: Path) -> Path:
    return build_wheel(clone)


@pytest.fixture(scope="module")
def plugin_wheel(clone: Path) -> Path:
    return build_wheel(clone / "plugin")


def read_wheel(wheel: Path) -> tuple[set[str], str, Message]:
    """The files of a wheel, its entry points, and its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [info] = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        return names, archive.read(f"{info}/entry_points.txt").decode(), metadata


def test_the_wheel_holds_the_two_packages_and_the_guard_of_children(wheel: Path, clone: Path) -> None:
    names, entry_points, metadata = read_wheel(wheel)
    [info] = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert {name.partition("/")[0] for name in names} == {"aquila", "pytest_aquila", "aquila_guard.pth", info}
    assert {"aquila/py.typed", "pytest_aquila/py.typed", f"{info}/licenses/LICENSE"} <= names
    source = clone / "src"
    kinds = {".py", ".html", ".css", ".js", ".svg"}
    assert {str(path.relative_to(source)) for path in source.rglob("*") if path.suffix in kinds} <= names
    assert "aquila = aquila.command:main" in entry_points
    assert "pytest11" not in entry_points  # or each start of pytest would read the list of these files
    assert metadata["Name"] == "aquila-llm"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"openai", "huey", "redis", "postgres", "vcr", "local", "cli", "otel"} <= extras
    # A base that named a version of a client would push that client, or what stands on it, to another version.
    base = [needed for needed in metadata.get_all("Requires-Dist", []) if "extra ==" not in needed]
    assert not [needed for needed in base if needed.startswith(("openai", "pytest"))]
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_plugins_wheel_is_the_entry_in_pytest_alone(plugin_wheel: Path) -> None:
    names, entry_points, metadata = read_wheel(plugin_wheel)
    assert {name.partition(".dist-info/")[2] for name in names} == {
        "METADATA",
        "WHEEL",
        "entry_points.txt",
        "RECORD",
        "licenses/LICENSE",
    }
    assert entry_points.strip() == "[pytest11]\naquila = pytest_aquila.plugin"
    assert metadata["Name"] == "pytest-aquila"
    assert str(metadata.get_payload()).startswith("# Aquila")


UPSTREAM = """
import json

import httpx2


def answer(request):
    asked = json.loads(request.content)["messages"][-1]["content"]
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": part}, "finish_reason": None}]}
        for part in ("You said ", asked)
    ]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}})
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "echo"}
    body = "".join(f"data: {json.dumps({**common, **event})}\\n\\n" for event in events) + "data: [DONE]\\n\\n"
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)


def echo():
    return httpx2.MockTransport(answer)
"""

TESTS = """
import importlib.metadata
import sys

import aquila


def test_the_installed_package_is_the_one_in_use():
    assert aquila.__file__.startswith(sys.prefix)
    assert "site-packages" in aquila.__file__


def test_asks(aquila_cassette):
    assert aquila.ask("hello").text == "You said hello"
"""


def make_environment(folder: Path, *requirements: str | Path) -> Path:
    """Install ``requirements`` into a new virtual environment, and return its Python."""
    done = run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    python = folder / "bin" / "python"
    install(python, *requirements)
    return python


def install(python: Path, *requirements: str | Path) -> None:
    """Install ``requirements`` into the environment of ``python``."""
    # The pip of this environment installs into that one, which is much faster than installing pip there first. What
    # a test imports is compiled then; that is a small part of what is installed.
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-compile", "--quiet")
    command = (*pip, "--disable-pip-version-check", *requirements)
    done = run(*command, cwd=python.parent)
    if done.returncode:  # once more: the network may have failed for a moment
        done = run(*command, cwd=python.parent)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"the wheel's dependencies cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class WithoutPytest:
    """What was seen in an environment that had the library, and no pytest yet."""

    python: Path
    program: subprocess.CompletedProcess[str]
    command: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def without_pytest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> WithoutPytest:
    """Install the library with what the examples need, and run a program and the command at once."""
    folder = tmp_path_factory.mktemp("environment")
    python = make_environment(folder, f"{wheel}[openai,huey]")
    (folder / "app.py").write_text(WITHOUT_PYTEST)
    program = run(python, "-W", "error", "app.py", cwd=folder)
    return WithoutPytest(python, program, run(python.parent / "aquila", "cassettes", "list", cwd=folder))


@pytest.fixture(scope="module")
def environment(without_pytest: WithoutPytest, plugin_wheel: Path) -> Path:
    """The Python of the same environment, into which the plugin was installed next, and pytest with it."""
    install(without_pytest.python, plugin_wheel)
    return without_pytest.python


CLIENT_TESTS = """
import importlib.metadata
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest

import aquila
from aquila import *


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "15")
        self.end_headers()
        self.wfile.write(b'{"text": "yes"}')

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(request, aquila_cassette):
    if not request.config.getoption("--aquila-record"):
        return "http://127.0.0.1:9"
    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    request.addfinalizer(server.server_close)
    request.addfinalizer(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"


def test_nothing_brings_openai():
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("openai")


def test_a_client_is_answered(address):
    assert httpx2.post(f"{address}/v1/chat/completions", json={"messages": []}).json() == {"text": "yes"}


def test_ask_names_what_it_needs(aquila_cassette):
    with pytest.raises(aquila.errors.MissingDependency, match=r"pip install 'aquila-llm\\[openai\\]'"):
        aquila.ask("hello")
"""


def test_the_base_records_and_replays_clients_without_openai(wheel: Path, plugin_wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    python = make_environment(tmp_path / "environment", wheel, plugin_wheel)
    (tmp_path / "test_app.py").write_text(CLIENT_TESTS)
    pytest_ = (python, "-W", "error", "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "test_app.py")

    recorded = run(*pytest_, "--aquila-record", cwd=tmp_path)
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    assert "1 recorded" in recorded.stdout
    replayed = run(*pytest_, cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "1 replayed" in replayed.stdout


WITHOUT_PYTEST = """
import importlib.util

import aquila
from aquila.huey import MemoryHuey
from aquila.testing import use_script

assert importlib.util.find_spec("pytest") is None
huey = MemoryHuey("jobs", immediate=True)


@huey.task()
def greet(name):
    with use_script() as script:
        script.reply(f"Hello {name}")
        return aquila.ask("Greet").text


assert greet("you").get() == "Hello you"
print("greeted")
"""


def test_the_library_runs_jobs_and_its_command_without_pytest(without_pytest: WithoutPytest) -> None:
    done = without_pytest.program
    assert done.stdout == "greeted\n", done.stdout + done.stderr
    shown = without_pytest.command
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.startswith("no cassettes in ")


def test_the_wheel_works_in_an_empty_environment(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "upstream.py").write_text(UPSTREAM)
    (tmp_path / "test_app.py").write_text(TESTS)
    pytest_ = (environment, "-W", "error", "-m", "pytest", "-W", "error", "-p", "no:cacheprovider")

    missed = run(*pytest_, cwd=tmp_path)
    assert missed.returncode == 1, missed.stdout + missed.stderr
    assert "1 failed, 1 passed" in missed.stdout

    recorded = run(*pytest_, "--aquila-record", cwd=tmp_path, AQUILA_UPSTREAM="upstream:echo", PYTHONPATH=str(tmp_path))
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr

    (tmp_path / "upstream.py").unlink()
    replayed = run(*pytest_, cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "2 passed" in replayed.stdout


def test_the_examples_run_on_the_wheel(environment: Path, clone: Path, tmp_path: Path) -> None:
    shutil.copytree(clone / "examples", tmp_path / "examples")
    # The whole table of faults takes long, and workers of pytest-xdist, which is not installed here.
    without = ["-k", "not test_the_table_of_faults"]
    done = run(environment, "-m", "pytest", "-p", "no:cacheprovider", *without, "examples", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
