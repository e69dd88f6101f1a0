"""Settings and marks of cassetter that its sample project does not use."""

from __future__ import annotations

import json

import pytest

import tests.support.preloaded  # noqa: F401

ITEMS = "https://api.example.com/items"
BODY = {"type": "json", "content": {"number": 1}}
ROW = {
    "request": {"method": "GET", "uri": ITEMS, "headers": {}, "body": {"type": "none"}},
    "response": {"status": 200, "headers": {"content-type": ["application/json"]}, "body": BODY},
    "recorded_at": "2020-02-20T10:30:01Z",
}
TESTS = """
import httpx2, pytest

def get(path="items"):
    return httpx2.get(f"https://api.example.com/{path}").json()["number"]

"""


def run(pytester: pytest.Pytester, tests: str, *arguments: str, ini: str = "") -> pytest.RunResult:
    folder = pytester.path / "cassettes" / "test_old"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "two.yaml").write_text(json.dumps({"version": 1, "interactions": [ROW, ROW]}))
    pytester.makeini(f"[pytest]\naquila_cassetter_compat = true\n{ini}\n")
    pytester.makepyfile(test_old=TESTS + tests)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error", *arguments)


def record_from_a_stand_in(pytester: pytest.Pytester) -> str:
    """Write a provider that always answers with 3; return the option that records from it."""
    pytester.makepyfile(
        stand_in="""
        import httpx2

        def transport():
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"number": 3}))
        """
    )
    pytester.syspathinsert()
    return "--aquila-upstream=stand_in:transport"


def test_options_and_marks_of_cassetter_work_or_are_reported(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.fixture(scope="module")
def vcr_config():
    def normalize(uri):
        return uri.replace("today", "items")
    return {"uri_normalizer": normalize, "observe_timeout": 1.0}

@pytest.mark.vcr("two.yaml")
def test_a_normalizer():
    assert get("today") == 1

@pytest.mark.vcr("two.yaml", on_unplayed="fail")
def test_unplayed():
    get()

@pytest.mark.vcr("two.yaml", max_age="30d", on_expiry="fail")
def test_too_old():
    get()

@pytest.mark.vcr("two.yaml", record_mode="sometimes")
def test_mode():
    get()

@pytest.mark.vcr("two.yaml", no_such_option=True)
def test_option():
    get()
""",
        "--record-mode=verify",
        "--vcr-check-orphans=cassettes",
    )
    outcomes = result.parseoutcomes()
    assert outcomes == {"passed": 2, "failed": 2, "errors": 1}
    result.stdout.fnmatch_lines(
        [
            "*unsupported @pytest.mark.vcr options: no_such_option*",
            "cassette two.yaml: recording 2 was not played*",
            "cassette two.yaml: a recording of 2020-02-20*",
            "aquila: cassetter: observe_timeout has no effect",
            "aquila: cassetter: --vcr-check-orphans has no effect: run with --aquila-orphans",
            "aquila: cassetter: the mode verify replays here; to ask the provider again: pytest --aquila-verify",
        ]
    )


def test_recording_a_named_cassette_keeps_the_recordings_of_other_tests(pytester: pytest.Pytester) -> None:
    upstream = record_from_a_stand_in(pytester)
    test = """
@pytest.mark.vcr("two.yaml")
def test_it():
    assert get("more") == 3
"""
    for option in ("--record-mode=new_episodes", "--aquila-record"):
        run(pytester, test, option, upstream).assert_outcomes(passed=1)
        text = (pytester.path / "cassettes" / "test_old" / "two.yaml").read_text()
        assert (text.count(f"{ITEMS}\n"), text.count("/more\n")) == (2, 1)


def test_a_default_cassette_mark_without_a_name_is_an_error(pytester: pytest.Pytester) -> None:
    result = run(pytester, "@pytest.mark.vcr\n@pytest.mark.default_cassette\ndef test_it():\n    get()\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*give the name of the cassette to @pytest.mark.default_cassette*"])


def test_before_record_response_changes_new_recordings_and_not_replayed_ones(pytester: pytest.Pytester) -> None:
    upstream = record_from_a_stand_in(pytester)
    test = """
import json

@pytest.fixture(scope="module")
def vcr_config():
    def add_one(answer):
        answer.body = json.dumps({"number": json.loads(answer.body)["number"] + 1}).encode()
        return answer
    return {"before_record_response": add_one}

@pytest.mark.vcr("two.yaml")
def test_recorded_before():
    assert get() == 1

@pytest.mark.vcr
def test_recorded_with_it(request):
    assert get() == (3 if request.config.getoption("--record-mode") else 4)
"""
    run(pytester, test, "--record-mode=new_episodes", upstream).assert_outcomes(passed=2)
    run(pytester, test).assert_outcomes(passed=2)


def test_a_cassette_named_with_the_unchanged_test_id_is_used_if_there_is_no_other(
    pytester: pytest.Pytester,
) -> None:
    folder = pytester.path / "cassettes" / "test_old"
    folder.mkdir(parents=True)
    other = {**ROW, "response": {**ROW["response"], "body": {"type": "json", "content": {"number": 2}}}}
    for name, row in {"one?": ROW, "both?": other, "both-": ROW}.items():
        (folder / f"test_it[{name}].yaml").write_text(json.dumps({"version": 1, "interactions": [row]}))
    test = """
@pytest.mark.vcr
@pytest.mark.parametrize("name", ["one?", "both?"])
def test_it(name):
    assert get() == 1
"""
    run(pytester, test).assert_outcomes(passed=2)


def test_the_configuration_may_be_an_object(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
import dataclasses

@dataclasses.dataclass(frozen=True)
class Cassetter:
    record_mode: str | None = None
    cassette_library_dir: str | None = None
    match_on: list | None = None

@pytest.fixture(scope="module")
def vcr_config(request):
    return Cassetter(cassette_library_dir=str(request.path.parent / "cassettes" / "test_old"), match_on=["method"])

@pytest.mark.vcr("two.yaml")
def test_it(vcr):
    assert [get("anything"), get("else")] == [1, 1]
    assert vcr.all_played

@pytest.mark.vcr("two.yaml", record_mode="sometimes")
def test_mode():
    pass
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*unknown record mode: 'sometimes', expected one of*"])


def test_plugins_with_the_same_fixtures_are_a_usage_error(pytester: pytest.Pytester) -> None:
    result = run(pytester, "", ini="aquila_vcr_compat = true")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*aquila_vcr_compat and aquila_cassetter_compat declare the same fixtures*"])
    pytester.makepyfile(cassetter="")
    pytester.syspathinsert()
    result = run(pytester, "", "-p", "cassetter")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*uninstall cassetter, or run with -p no:cassetter*"])


def test_the_ini_key_match_on_applies_unless_a_mark_overrides_it(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.vcr("two.yaml")
def test_by_the_ini_file():
    assert get("anything") == 1

@pytest.mark.vcr("two.yaml", match_on=["method", "uri"])
def test_by_its_mark():
    assert get("anything") == 1
""",
        ini="aquila_match_on = method",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED*by_its_mark*", "*aquila_match_on has no effect on cassettes whose own*"])
