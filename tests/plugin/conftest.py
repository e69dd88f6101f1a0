"""A small project in a folder of its own, with a provider that notes its requests."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

# Loaded here, so that inner runs do not load them again.
import aquila.cassettes.codecs.yaml.codec
import aquila.engine.calls.call_plan
import aquila.intercept.use_cassette
import aquila.recording.storing.recorder
import aquila.run_report.collecting
import aquila.transports.clients
import aquila.transports.watched_exchanges  # noqa: F401
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.stateful_project import stateful  # noqa: F401

_numbers = itertools.count()

RUNS_TESTS_AGAIN = """
    import pytest
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in runtestprotocol(item, nextitem=nextitem, log=False)[:2]:
            report.outcome = "rerun" if report.when == "call" else report.outcome
            item.ihook.pytest_runtest_logreport(report=report)
        item._initrequest()
        runtestprotocol(item, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(report):
        if report.outcome == "rerun":
            return "rerun", "R", "RERUN"
"""
"""A ``conftest.py`` that runs each test twice, as plugins do that run failed tests again."""


class Project:
    """Runs pytest in the project. ``calls`` has the request bodies that have reached the provider."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.module = f"provider_{next(_numbers)}"
        self.calls_file = pytester.path / "calls.txt"
        pytester.makepyfile(
            **{
                self.module: f"""
                import json
                import httpx2

                def handle(request):
                    with open({str(self.calls_file)!r}, "ab") as calls:
                        calls.write(request.content + b"\\n")
                    with open({str(self.calls_file)!r}, "rb") as calls:
                        number = len(calls.read().splitlines())
                    answer = {{"answer": number, "usage": {{"total_tokens": 7}}}}
                    return httpx2.Response(200, json=answer)

                def transport():
                    return httpx2.MockTransport(handle)
                """
            }
        )
        pytester.makepyfile(
            app="""
            import aquila

            def post(prompt, **body):
                with aquila.http_client() as http:
                    return http.post("https://provider.example/v1/x", json={"prompt": prompt, **body}).json()["answer"]

            def post_in_fork(prompt, **body):  # a child process that need not load everything anew
                import multiprocessing
                child = multiprocessing.get_context("fork").Process(target=post, args=(prompt,), kwargs=body)
                child.start()
                child.join()
                return child.exitcode
            """
        )

    @property
    def cassettes(self) -> Path:
        return self.pytester.path / "cassettes"

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    @property
    def cassette_names(self) -> set[str]:
        """The files of all cassettes, relative to their folder."""
        return {path.relative_to(self.cassettes).as_posix() for path in self.cassettes.rglob("*.yaml")}

    def bodies(self, name: str) -> list[bytes]:
        """The bodies of the requests in a cassette, such as ``test_app/test_it``."""
        return [row.request.body for row in load_cassette(self.cassettes / f"{name}.yaml").interactions]

    def run(self, *arguments: str, tests: str | None = None) -> pytest.RunResult:
        if tests is not None:
            self.pytester.makepyfile(test_app="from app import post\nimport aquila, pytest\n" + textwrap.dedent(tests))
        return self.pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "-p", "no:xdist", f"--aquila-upstream={self.module}:transport", *arguments
        )

    def record(self, *arguments: str, tests: str | None = None) -> pytest.RunResult:
        return self.run("--aquila-record", *arguments, tests=tests)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal so wide that no line is wrapped. ``tests/plugin/test_summary.py`` tests the wrapping."""
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    for variable in ("CI", "BUILD_NUMBER"):  # with these, pytest repeats whole messages in its summary
        monkeypatch.delenv(variable, raising=False)
    pytester.syspathinsert()
    # Tests change files within a second, often without a change of size. pytest before 9.2 would not see the change.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Project(pytester)


@pytest.fixture
def lines() -> Callable[[pytest.RunResult], str]:
    return lambda result: "\n".join(result.outlines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty project, for pytest runs in a new process."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path
