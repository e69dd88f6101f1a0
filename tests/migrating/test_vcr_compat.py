"""A suite that was written for pytest-recording runs as it is, when the ini file asks for that."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.support.preloaded  # noqa: F401

CASSETTE = """interactions:
- request:
    body: '{"prompt": "hi"}'
    headers:
      content-type: [application/json]
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
    body:
      string: '{"answer": "from vcrpy"}'
    headers:
      Content-Type: [application/json]
    status:
      code: 200
      message: OK
version: 1
"""

TESTS = """
import httpx2, pytest, requests

def ask(prompt, post=httpx2.post):
    return post("https://api.openai.com/v1/chat/completions", json={{"prompt": prompt}}).json()["answer"]

{body}
"""


class Suite:
    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.cassettes = pytester.path / "cassettes" / "test_old"

    def run(self, body: str, *arguments: str, ini: str = "aquila_vcr_compat = true") -> pytest.RunResult:
        import textwrap

        self.pytester.makeini(f"[pytest]\n{ini}\n")
        self.pytester.makepyfile(test_old=TESTS.format(body=textwrap.dedent(body)))
        plain = ("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error")
        return self.pytester.runpytest_inprocess(*plain, *arguments)

    def write(self, name: str, text: str = CASSETTE) -> Path:
        path = self.cassettes / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    return Suite(pytester)


def test_a_marked_test_replays_the_cassette_that_it_has(suite: Suite) -> None:
    for name in ("test_plain", "TestIt.test_in_class", "test_each[a-b]", "test_by_requests"):
        suite.write(name)
    result = suite.run(
        """
        pytestmark = pytest.mark.vcr

        def test_plain(vcr):
            assert ask("hi") == "from vcrpy"
            assert vcr.all_played and vcr.play_count == 1

        class TestIt:
            def test_in_class(self):
                assert ask("hi") == "from vcrpy"

        @pytest.mark.parametrize("value", ["a/b"])
        def test_each(value):
            assert ask("hi") == "from vcrpy"

        def test_by_requests():
            assert ask("hi", requests.post) == "from vcrpy"
        """
    )
    result.assert_outcomes(passed=4)


def test_a_prompt_that_drifted_is_told_and_can_be_let_pass_while_migrating(suite: Suite) -> None:
    suite.write("test_it")
    drifted = """
        @pytest.mark.vcr
        def test_it():
            assert ask("changed") == "from vcrpy"
        """
    result = suite.run(drifted)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*prompt: recorded 'hi', now 'changed'*"])
    loose = """
        @pytest.fixture
        def vcr_config():
            return {{"match_on": ["method", "uri"], "filter_headers": ["authorization"]}}
        """.replace("{{", "{").replace("}}", "}")
    suite.run(loose + drifted).assert_outcomes(passed=1)
    result = suite.run(loose + drifted, "--aquila-drift")
    result.stdout.fnmatch_lines(
        ["aquila: test_old.py::test_it: POST https://*", "aquila: 1 request has no recording with the same content"]
    )


def test_the_fixtures_of_a_suite_are_honoured(suite: Suite, pytester: pytest.Pytester) -> None:
    (pytester.path / "elsewhere").mkdir()
    (pytester.path / "elsewhere" / "named.yaml").write_text(CASSETTE)
    result = suite.run(
        """
        @pytest.fixture(scope="module")
        def vcr_cassette_dir():
            return "elsewhere"

        @pytest.fixture
        def vcr_config():
            return dict(allow_playback_repeats=True)

        @pytest.mark.vcr
        @pytest.mark.default_cassette("named.yaml")
        def test_it():
            assert ask("hi") == ask("hi") == "from vcrpy"
        """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("mode", "before", "asked"),
    [
        ("none", True, 0),
        ("once", True, 0),
        ("once", False, 1),
        ("new_episodes", False, 1),
        ("new_episodes", True, 0),
        ("all", True, 1),
        ("rewrite", True, 1),
    ],
)
def test_record_modes_keep_their_names(mode: str, before: bool, asked: int, suite: Suite) -> None:
    if before:
        suite.write("test_it")
    suite.pytester.makepyfile(
        stand_in="""
        import httpx2

        def transport():
            def answer(request):
                with open("asked.txt", "a") as asked:
                    asked.write("x")
                return httpx2.Response(200, json={"answer": "recorded"})
            return httpx2.MockTransport(answer)
        """
    )
    suite.pytester.syspathinsert()
    result = suite.run(
        """
        @pytest.mark.vcr
        def test_it():
            assert ask("hi") in ("from vcrpy", "recorded")
        """,
        f"--record-mode={mode}",
        "--aquila-upstream=stand_in:transport",
    )
    result.assert_outcomes(passed=1)
    counted = suite.pytester.path / "asked.txt"
    assert (len(counted.read_text()) if counted.exists() else 0) == asked
    assert ("recorded" in (suite.cassettes / "test_it.yaml").read_text()) == bool(asked)


def test_what_has_no_counterpart_is_told(suite: Suite) -> None:
    result = suite.run(
        """
        @pytest.mark.vcr(before_record_request=print)
        def test_hook():
            pass

        @pytest.mark.vcr("other.yaml")
        def test_files():
            pass

        @pytest.mark.vcr(match_on=["phase_of_the_moon"])
        def test_matcher():
            pass

        @pytest.mark.vcr(record_mode="sometimes")
        def test_mode():
            pass
        """
    )
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(
        [
            "*'before_record_request' has no counterpart*",
            "*with files of its own has no counterpart*",
            "*no matcher phase_of_the_moon; known are method*",
            "*record mode 'sometimes'; known are none, once*",
        ]
    )


def test_the_network_can_be_blocked(suite: Suite) -> None:
    result = suite.run(
        """
        from aquila.errors import LiveCallRefused

        @pytest.mark.block_network
        def test_it(aquila_refusals):
            with pytest.raises(LiveCallRefused, match="was refused"):
                httpx2.get("http://192.0.2.1/")
            aquila_refusals.forget()
        """
    )
    result.assert_outcomes(passed=1)


def test_it_is_off_unless_asked_for(suite: Suite) -> None:
    result = suite.run("def test_it(vcr_config): pass", ini="")
    result.assert_outcomes(errors=1)
    assert suite.run("def test_it(): pass", "--record-mode=none", ini="").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(("name", "package"), [("recording", "pytest-recording"), ("vcr", "pytest-vcr")])
def test_beside_its_original_it_says_so(name: str, package: str, suite: Suite) -> None:
    suite.pytester.makepyfile(**{name: ""})
    suite.pytester.syspathinsert()
    suite.pytester.makeini("[pytest]\naquila_vcr_compat = true\n")
    result = suite.pytester.runpytest_subprocess("-p", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*uninstall {package}, or run with -p no:{name}*"])
