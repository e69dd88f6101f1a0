"""A suite that uses nothing of Aquila runs as it did before Aquila was installed: the same ids, the same output."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import Answer, serving


def test_what_looks_like_a_secret_stays_in_the_id_of_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("value", ["https://user:s3cr3t-pass@example.com/", "Basic dGVzdDp0ZXN0dGVzdA=="])
        @pytest.mark.parametrize("encoded", [b"http://user:pass%20word@example.com/?api_key=q7Zr2mXv9KpLw4TbN8"])
        def test_it(value, encoded):
            pass
        """
    )
    collected = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "no:aquila").outlines
    assert pytester.runpytest_inprocess("--collect-only", "-q").outlines[:2] == collected[:2]


def test_an_error_of_a_conftest_is_shown_without_the_code_of_a_hook(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def broken():
            raise RuntimeError("setup")

        @pytest.fixture(scope="module")
        def ends_badly():
            yield
            raise RuntimeError("teardown")

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_call(item):
            if "refused" in item.name:
                raise RuntimeError("call")
        """
    )
    pytester.makepyfile(
        """
        def test_broken(broken):
            pass

        def test_refused():
            pass

        def test_last(ends_badly):
            pass
        """
    )
    result = pytester.runpytest_inprocess("-q", "-p", "no:xdist")
    result.assert_outcomes(passed=1, failed=1, errors=2)
    before = pytester.runpytest_inprocess("-q", "-p", "no:xdist", "-p", "no:aquila")
    assert result.outlines[:-1] == before.outlines[:-1]  # the last one has the time that it took


@pytest.fixture
def address() -> Iterator[str]:
    """A server of this machine that answers every GET."""
    with serving(by=lambda seen: Answer(status=204)) as server:
        yield server.url.removesuffix("v1")


@pytest.mark.parametrize("ending", ["pass", "assert False"])
def test_requests_to_a_server_of_the_machine_add_no_line(ending: str, address: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import httpx2
        import pytest

        @pytest.fixture(autouse=True)
        def around():
            yield

        def test_it():
            assert httpx2.get({address!r}).status_code == 204
            {ending}
        """
    )
    assert "aquila:" not in pytester.runpytest_inprocess().stdout.str()


def test_a_failure_that_shows_a_dummy_says_what_leaves_the_variable_unset(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import os

        def test_it():
            assert os.environ.get("MISTRAL_API_KEY") is None
        """
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines("aquila-no-key is a dummy, *aquila_dummy_keys = -unset")
    monkeypatch.setenv("MISTRAL_API_KEY", "a-key-of-the-machine")
    result = pytester.runpytest_inprocess("-o", "aquila_dummy_keys=-unset")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*is a dummy*")


AZURE, BEDROCK, OLLAMA = "AZURE_OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "OLLAMA_API_KEY"


@pytest.mark.parametrize(("name", "words", "own", "shown"), [
    (AZURE, "", None, None),
    (AZURE, "", "a-key-of-the-machine", "aquila-no-key"),
    (AZURE, AZURE, None, "aquila-no-key"),
    (BEDROCK, "", None, None),
    (OLLAMA, "", None, None),
    (BEDROCK, "", "a-key-of-the-machine", "aquila-no-key"),
])  # fmt: skip
def test_keys_that_change_what_a_client_does_are_shown_only_where_they_are_set_or_wanted(
    name: str,
    words: str,
    own: str | None,
    shown: str | None,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if own is not None:
        monkeypatch.setenv(name, own)
    pytester.makeini(f"[pytest]\naquila_dummy_keys = {words}")
    pytester.makepyfile(
        f"""
        import os

        def test_it():
            assert os.environ.get("OPENAI_API_KEY") == "aquila-no-key"
            assert os.environ.get({name!r}) == {shown!r}

        def test_script(aquila_script):
            assert os.environ.get({name!r}) == {shown!r}
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("mark", "words", "key", "outcome", "advised"),
    [
        ("skipif", "", None, "failed", True),
        pytest.param("skipif", "-unset", None, "skipped", False, marks=pytest.mark.slow),
        pytest.param("skipif", "-unset", "a-key-of-the-machine", "failed", False, marks=pytest.mark.slow),
        pytest.param("", "", None, "failed", False, marks=pytest.mark.slow),
    ],
)
def test_a_test_that_runs_because_of_a_dummy_says_how_it_is_skipped(
    mark: str,
    words: str,
    key: str | None,
    outcome: str,
    advised: bool,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    pytester.makeini(f"[pytest]\naquila_dummy_keys = {words}")
    condition = "@pytest.mark.skipif(not os.environ.get('OPENAI_API_KEY'), reason='no key')" if mark else ""
    pytester.makepyfile(
        f"""
        import os

        import httpx2
        import pytest

        {condition}
        def test_live():
            httpx2.get("https://api.openai.com/v1/models")

        {condition}
        def test_recorded(aquila_cassette):
            httpx2.get("https://api.openai.com/v1/models")
        """
    )
    result = pytester.runpytest_subprocess("-p", "aquila")
    result.assert_outcomes(**{outcome: 2})
    assert result.stdout.str().count("A condition may skip this test.") == 2 * advised


def test_fixtures_of_pytest_itself_get_no_cassette_of_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(number, tmp_path, tmp_path_factory, monkeypatch, capsys, caplog, cache):
            assert "pytest_aquila.fixture_cassettes" not in sys.modules
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)
