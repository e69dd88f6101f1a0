"""A small project in a folder of its own, with a provider that counts what reaches it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Loaded here, so that runs within this process do not load them anew each time.
import aquila.cassettes.codecs.yaml.codec
import aquila.engine.calls.call_plan
import aquila.intercept.use_cassette
import aquila.recording.storing.recorder
import aquila.run_report.collecting
import aquila.transports.clients
import aquila.transports.watched_exchanges  # noqa: F401
from tests.support.stateful_project import stateful  # noqa: F401

_numbers = itertools.count()


class Project:
    """Runs pytest in the project. ``calls`` are the bodies that reached the provider."""

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
            """
        )

    @property
    def cassettes(self) -> Path:
        return self.pytester.path / "cassettes"

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def run(self, *arguments: str, tests: str | None = None) -> pytest.RunResult:
        if tests is not None:
            self.pytester.makepyfile(test_app="from app import post\nimport aquila, pytest\n" + _dedented(tests))
        return self.pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "-p", "no:xdist", f"--aquila-upstream={self.module}:transport", *arguments
        )

    def record(self, *arguments: str, tests: str | None = None) -> pytest.RunResult:
        return self.run("--aquila-record", *arguments, tests=tests)


def _dedented(text: str) -> str:
    import textwrap

    return textwrap.dedent(text)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is tried apart from where lines end, which ``tests/plugin/test_summary.py`` does."""
    monkeypatch.setenv("COLUMNS", "1000")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    for variable in ("CI", "BUILD_NUMBER"):  # there pytest repeats whole messages in its summary
        monkeypatch.delenv(variable, raising=False)
    pytester.syspathinsert()
    # Tests change files within a second, often to others of the same size: pytest before 9.2 takes those for the same.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Project(pytester)


@pytest.fixture
def lines() -> Callable[[pytest.RunResult], str]:
    return lambda result: "\n".join(result.outlines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of its own, for runs of pytest that are started as a user starts them."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path
