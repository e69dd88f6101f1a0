"""A small project whose provider keeps state: see ``StatefulApi``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.server import Server, serving
from tests.support.stateful_api import StatefulApi

APP = """
    import json
    import aquila
    import openai

    TOOLS = [{"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}]

    def make_client():
        # No connection is kept: a test that fails leaves its client to the garbage collector, which would complain.
        return openai.OpenAI(base_url=URL, api_key="not needed", default_headers={"connection": "close"})

    def begin(client, question, **options):
        return client.responses.create(model="m", input=question, tools=TOOLS, **options)

    def go_on(client, answer, output, **options):
        call = next(item for item in answer.output if item.type == "function_call")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        return client.responses.create(
            model="m", previous_response_id=answer.id, input=[result], tools=TOOLS, **options
        )

    def converse(question, *outputs):
        client = make_client()
        answer = begin(client, question)
        for output in outputs:
            answer = go_on(client, answer, output)
        return answer.output_text

    def ask_plainly(question):
        return make_client().responses.create(model="m", input=question).output_text
"""


class StatefulProject:
    """Runs pytest in a project whose provider keeps state. ``api`` is the provider, and ``server`` its HTTP server."""

    def __init__(self, pytester: pytest.Pytester, server: Server, api: StatefulApi) -> None:
        self.pytester = pytester
        self.server = server
        self.api = api
        pytester.makepyfile(app=f"URL = {server.url!r}\n" + textwrap.dedent(APP))
        pytester.makeini("[pytest]\naquila_loopback = all\n")

    def write(self, tests: str) -> None:
        """Write the test module, with its imports if ``tests`` lacks them."""
        head = "import aquila, pytest\nfrom app import *\n"
        tests = textwrap.dedent(tests)
        self.pytester.makepyfile(test_app=tests if tests.startswith(head) else head + tests)

    def run(self, tests: str | None = None, *arguments: str) -> pytest.RunResult:
        if tests is not None:
            self.write(tests)
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)

    def record(self, tests: str | None = None, *arguments: str) -> pytest.RunResult:
        return self.run(tests, "--aquila-record", *arguments)

    def recordings(self, name: str = "test_app/test_it.yaml") -> tuple[Interaction, ...]:
        return load_cassette(self.path(name)).interactions

    def path(self, name: str = "test_app/test_it.yaml") -> Path:
        return self.pytester.path / "cassettes" / name

    def sent_since(self, count: int) -> list[str]:
        """Return the requests of the provider after the first ``count``, as ``METHOD path``."""
        return [f"{seen.method} {seen.path}" for seen in self.server.seen[count:]]

    def replays(self, **outcomes: int) -> None:
        """Replay the tests. Fail unless they pass, or have ``outcomes``, and nothing reaches the provider."""
        before = len(self.server.seen)
        result = self.run()
        result.assert_outcomes(**(outcomes or {"passed": 1}))
        assert len(self.server.seen) == before
        result.stdout.fnmatch_lines(["aquila: * replayed, 0 recorded, 0 missed*"])


@pytest.fixture
def stateful(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatefulProject]:
    """A project whose provider keeps state. Import it into a ``conftest.py``."""
    for variable in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(variable, raising=False)
    pytester.syspathinsert()
    api = StatefulApi()
    with serving(by=api) as server:
        yield StatefulProject(pytester, server, api)
