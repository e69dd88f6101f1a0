"""Pytest runs that tests start as forks of a server: nothing in them differs from a new process."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.support import forked_runs

ABOUT_ITSELF = """
import json, locale, os, signal, sys
from pathlib import Path

def test_it():
    main = sys.modules["__main__"]
    about = {
        "arguments": sys.argv,
        "as typed": sys.orig_argv,
        "main": [main.__name__, main.__file__, main.__spec__.name],
        "path": sys.path,
        "searched": [folder for folder in sys.path_importer_cache if folder.endswith("support")],
        "folder": os.getcwd(),
        "environment": {name: value for name, value in os.environ.items() if name != "AQUILA_RUN"},
        # Some builds of libffi keep their own file open once a library has made a callback, as one of the server does.
        "descriptors": sum("libffi" not in os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()),
        "interrupts": repr(signal.getsignal(signal.SIGINT)),
        "flags": list(sys.flags),
        "encoding": [locale.getencoding(), sys.__stdout__.encoding],
        "aquila": "aquila" in sys.modules,
        "clients": sorted({"httpx", "httpx2", "openai", "requests", "aiohttp"} & {*sys.modules}),
    }
    Path("about.json").write_text(json.dumps(about))
    print("to stdout")
    assert "WRONG" not in os.environ
"""


def about_runs(pytester: pytest.Pytester) -> tuple[Any, Any]:
    """What a run as a fork and a run as a new process say about themselves."""
    found = []
    popen = subprocess.Popen
    started: list[Any] = []

    def count(command: Any, *arguments: Any, **options: Any) -> Any:
        started.append(command)
        return popen(command, *arguments, **options)

    for forked in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not forked:
                patch.setattr(
                    pytester, "popen", lambda *given, **named: pytest.Pytester.popen(pytester, *given, **named)
                )
            patch.setattr(subprocess, "Popen", count)
            started.clear()
            result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--basetemp=made")
        assert ("-mpytest" in str(started)) is not forked
        result.assert_outcomes(passed=1)
        found.append(json.loads((pytester.path / "about.json").read_text()))
        numbered = next(argument for argument in found[-1]["arguments"] if "runpytest-" in argument)
        found[-1] = json.loads(json.dumps(found[-1]).replace(numbered, "NUMBERED"))
    return found[0], found[1]


def test_a_run_that_is_a_fork_looks_like_a_new_process(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ABOUT_ITSELF)
    forked, new = about_runs(pytester)
    assert forked == new


def test_a_run_that_is_a_fork_fails_like_a_new_process(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "1")
    pytester.makepyfile(ABOUT_ITSELF)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*to stdout*", "*1 failed*"])
    assert pytester.runpytest_subprocess("--unknown").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.slow
def test_a_variable_that_python_reads_first_makes_a_new_process(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    pytester.makepyfile("import sys\n\ndef test_it():\n    if sys.flags.optimize != 1: raise ValueError\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, warnings=1)


def test_a_run_keeps_nothing_of_where_its_server_was_started(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.chdir(pytester.mkdir("left"))
        for name in ("LEFT", "AQUILA_LEFT", "PYTHONPATH"):
            patch.setenv(name, str(pytester.path / "left"))
        server = forked_runs._Server()
    monkeypatch.setattr(forked_runs, "_server_of", lambda process: server)
    pytester.makepyfile(
        """
        import os, sys

        def test_it():
            assert not {"LEFT", "AQUILA_LEFT"} & {*os.environ}
            assert not [folder for folder in sys.path if folder.endswith("left")]
        """
    )
    try:
        pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    finally:
        server.stop(os.getpid())


def test_a_run_that_lasts_too_long_is_ended(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import signal\n\ndef test_it(): signal.pause()\n")
    with pytest.raises(pytest.Pytester.TimeoutExpired):
        pytester.runpytest_subprocess(timeout=0.1)
    pytester.makepyfile("def test_it(): pass\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
