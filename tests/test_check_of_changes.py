"""`.ci/run`, with stand-ins for its commands: it ends all processes that it started, and its exit code is right."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.slow import slow_but

PATIENCE = 60
REPOSITORY = Path(__file__).parents[1]

COMMANDS = {
    "bin/id": "echo 1000",  # nobody who may install programs
    "bin/make": """
        case $1 in
        types) [ ! -e wrong-types ] || { echo "the types are wrong"; exit 2; } ;;
        fuzz) echo "redaction 5 inputs" ;;
        test-wild)
            mkdir -p build/wild
            result=build/wild/${2##*=}.xml
            if [ "${2##*=}" = "$(cat failing-once 2>/dev/null)" ]; then
                mkdir -p .pytest_cache/v/cache
                echo '{"tests/wild/test_a.py::test_b[c d]": true}' >.pytest_cache/v/cache/lastfailed
                echo '<t><testcase classname="tests.wild.test_a" name="test_b[c d]"><error/></testcase></t>' >"$result"
                exit 2
            fi ;;
        esac
        [ -z "${result:-}" ] || echo '<t><testcase/></t>' >"$result"
        echo "== 1 passed =="
        """,
    "scripts/find-python.sh": f"echo {sys.executable}",
    "scripts/environment.sh": f"""
        if [ ! -e succeeding ]; then
            sleep 600 &
            echo $$ $! >installing
            echo >installed
            wait
        fi
        mkdir -p "$1/bin"
        ln -sf {sys.executable} "$1/bin/python"
        ln -sf ../../pytest "$1/bin/pytest"
        """,
    "pytest": """
        case "$0 $*" in *"not nightly"*)
            [ -e succeeding ] || read -r line <installed
            [ ! -p lasting ] || { echo >testing; read -r line <lasting; }
            [ -e succeeding ] || exit 3 ;;
        esac
        [ -z "${WILD_GROUP:-}" ] || printf '%s\n' "$0" "$PYTEST_DISABLE_PLUGIN_AUTOLOAD" "$@" >>again
        for each; do case $each in --junitxml=*) echo '<t><testcase/></t>' >"${each#*=}" ;; esac; done
        echo "== 1 passed =="
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in COMMANDS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)
    for folder in (".venv/bin", ".ci"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / ".venv/bin/pytest").symlink_to(tmp_path / "pytest")
    shutil.copy(REPOSITORY / ".ci" / "run", tmp_path / ".ci" / "run")
    os.mkfifo(tmp_path / "installed")
    return tmp_path


def start(project: Path, **options: Any) -> subprocess.Popen[str]:
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    pipe = subprocess.PIPE
    return subprocess.Popen([project / ".ci" / "run"], env=environment, stdout=pipe, stderr=pipe, text=True, **options)


@contextlib.contextmanager
def all_that_it_starts(project: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], bool]]]:
    """The check, and a function that returns whether all processes that it started have ended."""
    reading, writing = os.pipe()
    process = start(project, pass_fds=[writing])
    os.close(writing)
    try:
        # The end of a pipe that every process has open which it started.
        yield process, lambda: bool(select.select([reading], [], [], PATIENCE)[0])
    finally:
        os.close(reading)
        with contextlib.suppress(OSError):  # whoever reads from it goes on, if there is somebody
            os.close(os.open(project / "lasting", os.O_WRONLY | os.O_NONBLOCK))
        for number in (project / "installing").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)


@pytest.mark.slow
def test_it_succeeds_if_everything_passes(project: Path) -> None:
    (project / "succeeding").touch()
    process = start(project)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "== all passed" in output


@pytest.mark.slow
@pytest.mark.parametrize("group", ["wild-openai2", "wild-plugins"])
def test_a_test_that_fails_once_in_a_group_is_run_again_alone_in_its_environment(group: str, project: Path) -> None:
    (project / "succeeding").touch()
    (project / "failing-once").write_text(group)
    process = start(project)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    again = (project / "again").read_text().splitlines()
    assert again == [
        f".venv-{group}/bin/pytest",
        "1",
        "-o",
        "faulthandler_timeout=600",
        "tests/wild/test_a.py::test_b[c d]",
    ]
    assert output.endswith("mend them:\ntests/wild/test_a.py::test_b[c d]\n")


@pytest.mark.slow
def test_wrong_types_fail_it_though_all_tests_pass(project: Path) -> None:
    (project / "succeeding").touch()
    (project / "wrong-types").touch()
    process = start(project)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert output.endswith("the types are wrong\n")


@pytest.mark.slow
def test_wrong_types_are_told_while_tests_run_that_fail(project: Path) -> None:
    (project / "wrong-types").touch()
    os.mkfifo(project / "lasting")
    with all_that_it_starts(project) as (process, _):
        output = process.stdout
        assert output is not None
        told = b""
        while b"the types are wrong\n" not in told and select.select([output], [], [], PATIENCE)[0]:
            told += os.read(output.fileno(), 65536)
        assert b"== make types failed\nthe types are wrong\n" in told
        (project / "lasting").write_text("go on")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 1


def test_a_running_installer_is_ended_when_tests_fail(project: Path) -> None:
    with all_that_it_starts(project) as (process, have_ended):
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, errors
        assert (project / "installing").read_text()
        assert have_ended(), "the installer goes on"


@pytest.mark.parametrize("how", slow_but([signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]), ids=lambda how: how.name)
def test_running_tests_are_ended_when_the_check_is_ended(project: Path, how: signal.Signals) -> None:
    for name in ("lasting", "testing"):
        os.mkfifo(project / name)
    with all_that_it_starts(project) as (process, have_ended):
        with open(os.open(project / "testing", os.O_RDWR)) as testing:
            assert select.select([testing], [], [], PATIENCE)[0], "no test has begun"
        process.send_signal(how)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + how, errors
        assert have_ended(), "the tests go on"


@pytest.mark.parametrize(("types", "tests", "status"), [(0, 0, 0), (1, 0, 1), (0, 5, 5), (1, 5, 5)])
def test_mypy_runs_beside_the_tests_and_either_failure_fails_the_command(
    types: int, tests: int, status: int, tmp_path: Path
) -> None:
    make = tmp_path / "make"
    os.mkfifo(looked := tmp_path / "looked")
    make.write_text(f'#!/bin/sh\necho the "$2"\necho >{looked}\nexit {types}\n')
    make.chmod(0o755)
    run_tests = f"read -r line <{looked}; echo the tests; exit {tests}"
    beside = ["sh", str(REPOSITORY / "scripts" / "beside-types.sh"), "types"]
    done = subprocess.run(
        [*beside, "sh", "-c", run_tests],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert (done.stdout, done.returncode) == ("the tests\nthe types\n", status)
