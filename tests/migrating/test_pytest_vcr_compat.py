"""A suite that was written for pytest-vcr runs as it is, when the ini file asks for that."""

from __future__ import annotations

import json

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.upstream import Answer, upstream

URL = "https://api.openai.com/v1/chat/completions"
INTERACTION = {
    "request": {"method": "POST", "uri": URL, "headers": {}, "body": '{"prompt": "hi"}'},
    "response": {
        "status": {"code": 200, "message": "OK"},
        "headers": {"content-type": ["application/json"]},
        "body": {"string": '{"answer": "from vcrpy"}'},
    },
}
CASSETTE = json.dumps({"version": 1, "interactions": [INTERACTION]})
TESTS = f"""
import httpx2, pytest

def ask(prompt, url={URL!r}):
    return httpx2.post(url, json={{"prompt": prompt}}).json()["answer"]

"""


def run(pytester: pytest.Pytester, tests: str, *arguments: str) -> pytest.RunResult:
    pytester.makeini("[pytest]\naquila_pytest_vcr_compat = true\n")
    pytester.makepyfile(test_old=TESTS + tests)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", *arguments)


def write(pytester: pytest.Pytester, *names: str, folder: str = "cassettes") -> None:
    """Write cassettes of one recording, where pytest-vcr has them: those of all modules in one folder."""
    for name in names:
        path = pytester.path / folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CASSETTE)


def test_marks_and_fixtures_of_pytest_vcr_work(pytester: pytest.Pytester) -> None:
    write(pytester, "test_marked", "TestIt.test_in_class", "test_each[a]", "renamed", "test_compared")
    result = run(
        pytester,
        """
@pytest.fixture(scope="module")
def vcr_config():
    return {"filter_headers": ["authorization"], "match_on": ["method", "host"]}

@pytest.fixture(scope="module", autouse=True)
def recorder(vcr):
    vcr.register_matcher("host only", lambda one, other: one.host == other.host)
    return vcr

@pytest.mark.vcr
def test_marked(recorder, vcr):
    assert recorder is vcr and vcr.match_on == ["method", "host"]
    assert ask("hi", "https://api.openai.com/v1/other") == "from vcrpy"

class TestIt:
    def test_in_class(self, vcr_cassette):
        assert ask("hi") == "from vcrpy"
        assert vcr_cassette.play_count == 1 and vcr_cassette.all_played

@pytest.mark.vcr()
@pytest.mark.parametrize("value", ["a"])
def test_each(value):
    assert ask("hi") == "from vcrpy"

class TestNamed:
    @pytest.fixture
    def vcr_cassette_name(self):
        return "renamed"

    @pytest.mark.vcr
    def test_named(self):
        assert ask("hi") == "from vcrpy"

@pytest.mark.vcr(match_on=["host only"])
def test_compared():
    assert ask("hi", "https://api.openai.com/v1/other") == "from vcrpy"
""",
    )
    result.assert_outcomes(passed=5)


def test_the_fixture_vcr_cassette_dir_is_used(pytester: pytest.Pytester) -> None:
    write(pytester, "test_it", folder="fixtures/http")
    tests = """
@pytest.fixture(scope="module")
def vcr_cassette_dir(request):
    return str(request.path.parent / "fixtures" / "http")

@pytest.mark.vcr
def test_it():
    assert ask("hi") == "from vcrpy"
"""
    run(pytester, tests).assert_outcomes(passed=1)


def test_it_records_only_with_an_option_of_the_command_line(pytester: pytest.Pytester) -> None:
    with upstream(lambda path, body: Answer(chunks=(b'{"answer": "live"}',))) as server:
        tests = f"""
@pytest.mark.vcr
def test_it(vcr_cassette):
    assert ask("hi", "{server.url}/v1/chat/completions") == "live"
"""
        cassette = pytester.path / "cassettes" / "test_it.yaml"
        run(pytester, tests).assert_outcomes(failed=1)
        run(pytester, tests, "--disable-vcr").assert_outcomes(passed=1)
        assert (len(server.requests), cassette.exists()) == (1, False)
        run(pytester, tests, "--vcr-record=once").assert_outcomes(passed=1)
        run(pytester, tests, "--vcr-record-mode=none").assert_outcomes(passed=1)
        assert (len(server.requests), cassette.exists()) == (2, True)


def test_disable_vcr_also_sends_the_requests_of_blocks_with_its_recorder(pytester: pytest.Pytester) -> None:
    with upstream(lambda path, body: Answer(chunks=(b'{"answer": "live"}',))) as server:
        tests = f"""
@pytest.fixture(scope="module")
def of_the_module(vcr):
    with vcr.use_cassette("of_the_module"):
        return ask("hi", "{server.url}/v1/chat/completions")

def test_it(vcr, of_the_module):
    assert of_the_module == "live"
    with vcr.use_cassette("test_it"):
        assert ask("hi", "{server.url}/v1/chat/completions") == "live"
"""
        run(pytester, tests, "--disable-vcr", "--vcr-record=none").assert_outcomes(passed=1)
        assert (len(server.requests), (pytester.path / "cassettes").exists()) == (2, False)


def test_a_changed_prompt_is_reported(pytester: pytest.Pytester) -> None:
    write(pytester, "test_it")
    result = run(pytester, "@pytest.mark.vcr\ndef test_it():\n    assert ask('changed') == 'from vcrpy'\n")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 1 request in 1 test has another content than recorded,*"])
