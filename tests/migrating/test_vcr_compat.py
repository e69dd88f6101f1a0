"""A suite that was written for pytest-recording runs as it is, when the ini file asks for that."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.slow import slow_but

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


def test_a_marked_test_replays_its_cassette(suite: Suite) -> None:
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


def test_a_drift_run_uses_the_matchers_of_the_suite(suite: Suite) -> None:
    path = suite.write("test_it", CASSETTE.replace("/completions", "/completions/1"))
    row = path.read_text().removeprefix("interactions:").removesuffix("version: 1\n")
    path.write_text(f"interactions:{row}{row.replace('from vcrpy', 'next').removeprefix(chr(10))}version: 1\n")
    suite.pytester.makeconftest(
        """
def pytest_recording_configure(config, vcr):
    vcr.register_matcher("any", lambda one, other: one.host == other.host)
        """
    )
    body = """
        @pytest.mark.vcr(match_on=["any"])
        def test_it():
            assert [ask("hi"), ask("hi")] == ["from vcrpy", "next"]
        """
    suite.run(body).assert_outcomes(passed=1)
    result = suite.run(body, "--aquila-drift")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 test: no recording has the method and path of POST*"])


@pytest.mark.parametrize(
    "use", ["with recorder.use_cassette('own.yaml'): it()", "recorder.use_cassette('own.yaml')(it)()"]
)
def test_a_changed_prompt_in_a_block_of_aquila_vcr_is_reported(suite: Suite, use: str) -> None:
    suite.write("own")
    body = f"""
        from aquila import vcr

        recorder = vcr.VCR(cassette_library_dir="cassettes/test_old", record_mode="none")

        def it():
            assert ask("changed") == "from vcrpy"

        def test_it():
            name = "own.yaml"
            {use}
        """
    result = suite.run(body, ini="")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 1 request in 1 test has another content than recorded, which the matchers*"])
    suite.run(body.replace("changed", "hi"), ini="").stdout.no_fnmatch_line("*another content than recorded*")
    suite.run(body, "--aquila-drift", ini="").stdout.fnmatch_lines(["1 test: *recorded 'hi', now 'changed'*"])


def test_a_changed_prompt_is_reported_and_fails_if_bodies_are_compared(suite: Suite) -> None:
    suite.write("test_it")
    drifted = """
        @pytest.mark.vcr
        def test_it():
            assert ask("changed") == "from vcrpy"
        """
    result = suite.run(drifted)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 1 request in 1 test has another content than recorded, which the matchers*"])
    suite.run(drifted.replace("changed", "hi")).stdout.no_fnmatch_line("*another content than recorded*")
    missed = suite.run(drifted.replace('ask("changed")', 'requests.get("https://api.openai.com/v1/other").text'))
    missed.assert_outcomes(failed=1)
    missed.stdout.no_fnmatch_line("*another content than recorded*")  # the matchers do compare it
    for strict in (
        {"body": drifted, "ini": "aquila_vcr_compat = true\naquila_match_on = +body"},
        {"body": drifted.replace("mark.vcr", "mark.vcr(additional_matchers=['body'])")},
    ):
        result = suite.run(**strict)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*prompt: recorded 'hi', now 'changed'*"])
        result = suite.run(**strict | {"body": strict["body"].replace("changed", "hi")})
        result.assert_outcomes(passed=1)
    result = suite.run(drifted, "--aquila-drift")
    result.stdout.fnmatch_lines(
        ["aquila: drift: 1 test, 1 change", "1 test: prompt recorded 'hi', now 'changed': record again: pytest *"]
    )


def test_an_ini_key_match_on_without_an_effect_is_reported(suite: Suite) -> None:
    suite.write("test_one")
    suite.write("test_two")
    configured = """
        @pytest.fixture(scope="module")
        def vcr_config():
            return {"match_on": ["method", "path"]}

        @pytest.mark.vcr
        def test_one():
            assert ask("changed") == "from vcrpy"

        @pytest.mark.vcr
        def test_two():
            assert ask("changed") == "from vcrpy"
        """
    told = "vcr: aquila_match_on has no effect on cassettes whose own options say what is compared*"
    ini = "aquila_vcr_compat = true"
    result = suite.run(configured, ini=f"{ini}\naquila_match_on = +body")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"*{told}"])
    assert result.stdout.str().count("aquila_match_on") == 1
    suite.run(configured, ini=ini).stdout.no_fnmatch_line("*aquila_match_on*")


def test_settings_without_an_effect_beside_a_matcher_of_the_suite_are_reported(suite: Suite) -> None:
    suite.write("test_one")
    configured = """
        @pytest.fixture(scope="module")
        def vcr_config():
            return {"match_on": %s}

        @pytest.mark.vcr
        def test_one(vcr):
            assert ask("hi") == "from vcrpy"
        """
    ini = "aquila_vcr_compat = true\naquila_ignore = metadata\naquila_normalize = uuid"
    told = "*vcr: aquila_ignore and aquila_normalize: no effect where match_on has a matcher of your own, *"
    own = """
        def pytest_recording_configure(config, vcr):
            vcr.register_matcher("own", lambda first, second: first.path == second.path)
"""
    suite.pytester.makeconftest(own)
    suite.run(configured % ["method", "own"], ini=ini).stdout.fnmatch_lines([told])
    suite.run(configured % ["method", "body"], ini=ini).stdout.no_fnmatch_line("*no effect*")


def test_fixtures_for_folder_name_and_configuration_are_used(suite: Suite, pytester: pytest.Pytester) -> None:
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


def test_aquila_record_records_a_changed_prompt_again(suite: Suite) -> None:
    suite.write("test_it")
    suite.pytester.makepyfile(
        stand_in="""
        import httpx2

        def transport():
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"answer": "recorded"}))
        """
    )
    suite.pytester.syspathinsert()
    drifted = """
        @pytest.mark.vcr
        def test_it():
            assert ask("changed") in ("from vcrpy", "recorded")
        """
    result = suite.run(drifted, "--aquila-record", "--aquila-upstream=stand_in:transport")
    result.assert_outcomes(passed=1)
    assert "from vcrpy" not in (suite.cassettes / "test_it.yaml").read_text()
    suite.run(drifted).stdout.no_fnmatch_line("*another content than recorded*")


@pytest.mark.parametrize("option", ["--record-mode=new_episodes", "--aquila-record"])
@pytest.mark.parametrize("by", slow_but(["mark"], ["mark", "fixture", "test"]))
def test_unused_recordings_are_removed_only_from_the_tests_own_cassette(by: str, option: str, suite: Suite) -> None:
    path = suite.write("test_it" if by == "test" else "shared")
    suite.pytester.makepyfile(
        stand_in="""
        import httpx2

        def transport():
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"answer": "recorded"}))
        """
    )
    suite.pytester.syspathinsert()
    result = suite.run(
        """
        @pytest.mark.vcr(additional_matchers=["body"])
        def test_it():
            assert ask("other") == "recorded"
        """
        + (
            """
        test_it = pytest.mark.default_cassette("shared")(test_it)
        """
            if by == "mark"
            else ""
            if by == "test"
            else """
        @pytest.fixture
        def default_cassette_name():
            return "shared"
        """
        ),
        option,
        "--aquila-upstream=stand_in:transport",
    )
    result.assert_outcomes(passed=1)
    assert "recorded" in path.read_text()
    assert ("from vcrpy" in path.read_text()) == (by != "test" or option != "--aquila-record")


def test_a_file_is_used_once_whose_recordings_answer_beside_those_of_a_cassette(suite: Suite) -> None:
    for name in ("shared", "more", r"test_block[\xfc]", "gone", "../../elsewhere/used", "../../elsewhere/gone"):
        suite.write(name)
    result = suite.run(
        """
        from aquila import vcr

        @pytest.mark.vcr("shared.yaml")
        @pytest.mark.default_cassette("shared.yaml")
        def test_named_twice(vcr):
            assert ask("x") == "from vcrpy"
            assert len(vcr) == 1

        @pytest.mark.vcr("more.yaml")
        def test_more(vcr):
            assert ask("x") == "from vcrpy"

        @pytest.mark.parametrize("word", ["ü"])
        def test_block(word, request):
            with vcr.use_cassette(f"cassettes/test_old/{request.node.name}.yaml"):
                assert ask("x") == "from vcrpy"
            with vcr.use_cassette("elsewhere/used.yaml"):
                assert ask("x") == "from vcrpy"
        """,
        "--aquila-orphans",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*no test used 2 cassettes: test_old/gone.yaml, elsewhere/gone.yaml*"])


def test_wrong_options_are_errors_and_options_without_effect_are_reported(suite: Suite) -> None:
    suite.write("test_niceties")
    result = suite.run(
        """
        @pytest.mark.vcr(custom_patches=(1,), serializer="yaml", no_such_thing=1)
        def test_niceties():
            ask("hi")

        @pytest.mark.vcr(match_on=["phase_of_the_moon"])
        def test_matcher():
            pass

        @pytest.mark.vcr(record_mode="sometimes")
        def test_mode():
            pass

        @pytest.mark.block_network("all")
        def test_network():
            pass
        """
    )
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*Matcher phase_of_the_moon doesn't exist or isn't registered*",
            "*'sometimes' is not a valid record_mode*",
            "*@pytest.mark.block_network takes allowed_hosts, and nothing else; not 'all'*",
            "aquila: vcr: custom_patches has no effect: *",
            "aquila: vcr: no_such_thing has no effect: *",
        ]
    )


def test_a_missing_fixture_of_another_recorder_names_the_ini_key_to_set(suite: Suite) -> None:
    result = suite.run(
        "def test_both(vcr): pass\n\ndef test_one(cassette): pass\n\ndef test_other(vrc): pass\n", ini=""
    )
    result.assert_outcomes(errors=3)
    advice = [line for line in result.outlines if "add to tox.ini" in line]
    assert advice == [
        "vcr is a fixture of pytest-recording, pytest-vcr and cassetter. To have it from Aquila, add to tox.ini: "
        "aquila_vcr_compat = true (for tests of pytest-recording), aquila_pytest_vcr_compat = true (for tests of "
        "pytest-vcr) or aquila_cassetter_compat = true (for tests of cassetter)",
        "cassette is a fixture of cassetter. To have it from Aquila, add to tox.ini: "
        "aquila_cassetter_compat = true (for tests of cassetter)",
    ]


def test_block_network_refuses_requests(suite: Suite) -> None:
    result = suite.run(
        """
        import socket
        from aquila.errors import LiveCallRefused

        @pytest.mark.block_network
        def test_it(aquila_refusals):
            with pytest.raises(LiveCallRefused, match="was refused"):
                httpx2.get("http://192.0.2.1/")
            aquila_refusals.forget()

        @pytest.mark.vcr
        @pytest.mark.block_network
        def test_what_no_cassette_answers(aquila_refusals):
            with pytest.raises(LiveCallRefused, match="was refused"):
                socket.create_connection(("192.0.2.1", 80), timeout=1)
            aquila_refusals.forget()

        @pytest.mark.vcr(ignore_hosts=["192.0.2.1"])
        @pytest.mark.block_network
        def test_what_the_cassette_ignores(aquila_refusals):
            with pytest.raises(LiveCallRefused, match="was refused"):
                httpx2.get("http://192.0.2.1/", timeout=1)
            with pytest.raises(LiveCallRefused, match="was refused"):
                socket.create_connection(("192.0.2.1", 80), timeout=1)
            aquila_refusals.forget()

        @pytest.mark.vcr(ignore_hosts=["192.0.2.1"], record_mode="once")
        @pytest.mark.block_network
        def test_what_a_cassette_ignores_that_records_in_other_runs(aquila_refusals):
            with pytest.raises(LiveCallRefused, match="was refused"):
                httpx2.get("http://192.0.2.1/", timeout=1)
            aquila_refusals.forget()

        @pytest.mark.vcr(ignore_hosts=["allowed.example"])
        @pytest.mark.block_network(allowed_hosts=["allowed.example"])
        def test_what_the_cassette_ignores_and_the_mark_allows(monkeypatch):
            asked = []

            def find_addresses(host, *rest, **more):
                asked.append(host)
                raise socket.gaierror

            monkeypatch.setattr(socket, "getaddrinfo", find_addresses)
            with pytest.raises(httpx2.ConnectError):
                httpx2.get("http://allowed.example/")
            assert asked == ["allowed.example"]
        """,
        "--record-mode=none",
    )
    result.assert_outcomes(passed=5)


def test_an_allowed_hosts_fixture_that_returns_none_allows_no_host(suite: Suite) -> None:
    result = suite.run(
        """
        @pytest.fixture
        def allowed_hosts():
            return None

        @pytest.mark.block_network
        def test_it():
            httpx2.get("http://192.0.2.1/")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*LiveCallRefused: GET*was refused*"])


def test_the_error_of_block_network_names_the_mark_or_option_of_the_suite(suite: Suite) -> None:
    asking = """
        {mark}
        def test_it():
            httpx2.get("http://192.0.2.1/")
        """
    for mark, option, told in (
        ("@pytest.mark.block_network", (), ["its mark block_network*", "*in the mark's allowed_hosts*"]),
        ("", ("--block-network",), ["--block-network*", "*in --allowed-hosts, or allowed_hosts of vcr_config*"]),
    ):
        result = suite.run(asking.format(mark=mark), *option)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"*blocked by {told[0]}@pytest.mark.vcr.", told[1]])
        result.stdout.no_fnmatch_line("*mark.aquila*")


def test_it_is_off_unless_asked_for(suite: Suite) -> None:
    result = suite.run("def test_it(vcr_config): pass", ini="")
    result.assert_outcomes(errors=1)
    assert suite.run("def test_it(): pass", "--record-mode=none", ini="").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("name", "package", "instead"),
    [
        ("recording", "pytest-recording", ""),
        ("vcr", "pytest-vcr", "; if the suite was written for it, write aquila_pytest_vcr_compat in place of aquila_*"),
    ],
)
@pytest.mark.slow
def test_running_beside_the_original_plugin_is_a_usage_error(
    name: str, package: str, instead: str, suite: Suite
) -> None:
    suite.pytester.makepyfile(**{name: ""})
    suite.pytester.syspathinsert()
    suite.pytester.makeini("[pytest]\naquila_vcr_compat = true\n")
    result = suite.pytester.runpytest_subprocess("-p", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*uninstall {package}, or run with -p no:{name}{instead}"])


@pytest.mark.parametrize("layer", ["vcr", "pytest_vcr", "cassetter"])
def test_a_missing_or_old_vcrpy_is_a_usage_error_with_the_install_command(
    layer: str, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite of pytest-recording often pins a vcrpy of years ago."""
    key = f"aquila_{layer}_compat"
    ini = f"{key} = true"
    monkeypatch.setattr("vcr.__version__", "8.5.0")
    old = suite.run("def test_it(): pass", ini=ini)
    assert old.ret == pytest.ExitCode.USAGE_ERROR
    old.stderr.fnmatch_lines(
        f"ERROR: {key} in tox.ini needs the package 'vcr' in version 9.4.2 or newer, and 8.5.0 is "
        "installed; install it with: pip install 'aquila-llm[[]vcr]'"
    )
    monkeypatch.setitem(sys.modules, "vcr", None)
    missing = suite.run("def test_it(): pass", ini=ini)
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    missing.stderr.fnmatch_lines("ERROR: * needs the package 'vcr'; install it with: pip install 'aquila-llm[[]vcr]'")


def test_only_keys_of_the_machine_are_replaced_by_dummies(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CEREBRAS_API_KEY", raising=False)
    monkeypatch.setenv("GROQ_API_KEY", "machines-own-key")
    suite.write("test_it")
    result = suite.run(
        """
        import os

        @pytest.fixture(scope="module")
        def vcr_config():
            return {"record_mode": "rewrite" if os.environ.get("CEREBRAS_API_KEY") else "none"}

        @pytest.mark.vcr
        def test_it():
            assert ask("hi") == "from vcrpy"
            assert os.environ["GROQ_API_KEY"] == "aquila-no-key"
        """
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 1 replayed, 0 recorded, 0 missed*"])
