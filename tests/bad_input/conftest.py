"""The project of a new user: an application, its test, and a provider on this machine."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock  # noqa: F401
import httpcore2  # noqa: F401
import httpx2
import pytest

import aquila
import aquila.cassettes.codecs.yaml.codec
import aquila.cassettes.matching.miss_message
import aquila.recording.storing.recorder
from tests.support.provider import chat_stream
from tests.support.server import Answer, Seen, serving

# The imports above and this call load all modules that are loaded on first use. Otherwise each inner run would load
# them again.
_first = httpx2.MockTransport(lambda request: httpx2.Response(200, content=chat_stream("Hello there.")))
with contextlib.suppress(aquila.errors.AquilaError):
    aquila.ask("Say hello.", transport=_first, endpoint="chat", api_key="none")

QUICKLY = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "--tb=native")

KEY = "sk-newcomer-0123456789abcdefghijklmnopqrstuvwxyz"


class Project:
    """The project. ``provider`` answers each request, and ``asked`` has the requests that have reached it."""

    def __init__(self, pytester: pytest.Pytester, asked: list[Seen]) -> None:
        self.pytester = pytester
        self.asked = asked
        self.provider: Callable[[Seen], Answer] = lambda seen: says("Hello there.")
        pytester.makepyfile(
            app="""
            import aquila

            def answer(prompt="Say hello.", **options):
                return aquila.ask(prompt, **options).text

            def chunks(prompt="Say hello.", **options):
                with aquila.stream(prompt, **options) as stream:
                    return [event.text for event in stream if isinstance(event, aquila.Chunk)]
            """
        )

    @property
    def folder(self) -> Path:
        return self.pytester.path

    @property
    def cassette(self) -> Path:
        """The cassette of the project's only test."""
        return self.folder / "cassettes" / "test_app" / "test_it.yaml"

    def write(self, body: str) -> None:
        """Make ``body`` the body of the project's only test."""
        head = "import aquila, pytest\nfrom app import answer, chunks\n\ndef test_it(aquila_cassette):\n"
        (self.folder / "test_app.py").write_text(head + textwrap.indent(textwrap.dedent(body).strip("\n"), "    "))

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(*QUICKLY, *arguments)

    def passes(self, *arguments: str) -> str:
        """Run the test, which must pass. Returns the output."""
        return self._output(self.run(*arguments), passed=1)

    def fails(self, *arguments: str) -> str:
        """Run the test, which must fail, with a message and without a crash of pytest. Returns the output."""
        return self._output(self.run(*arguments), failed=1)

    def errs(self, *arguments: str) -> str:
        """Run pytest, which must end with a usage error. Returns the output."""
        result = self.run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "INTERNALERROR" not in result.stderr.str() + result.stdout.str()
        return result.stderr.str() + result.stdout.str()

    def _output(self, result: pytest.RunResult, **outcomes: int) -> str:
        result.assert_outcomes(**outcomes)
        output = result.stdout.str()
        assert "INTERNALERROR" not in output + result.stderr.str()
        assert KEY not in output + result.stderr.str()
        return output


def says(*texts: str) -> Answer:
    """A streamed answer."""
    return Answer([chat_stream(*texts)])


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The project, with the provider's URL and a key in the environment."""
    pytester.syspathinsert()
    made: list[Project] = []

    def provider(seen: Seen) -> Answer:
        return made[0].provider(seen)

    with serving(by=provider) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        made.append(Project(pytester, server.seen))
        yield made[0]
