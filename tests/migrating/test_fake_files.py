"""A suite of pytest-recording whose tests have false files, by pyfakefs, replays the cassettes in the real ones."""

from __future__ import annotations

import pytest

import tests.support.preloaded  # noqa: F401
from tests.migrating.test_vcr_compat import CASSETTE


def test_a_cassette_is_read_before_the_false_files_of_a_test(pytester: pytest.Pytester) -> None:
    """As by vcrpy. At the first request of the test its file could not be found."""
    folder = pytester.mkdir("cassettes") / "test_old"
    folder.mkdir()
    (folder / "test_answer.yaml").write_text(CASSETTE)
    pytester.makeini("[pytest]\naquila_vcr_compat = true\n")
    pytester.makepyfile(
        pyfakefs="",
        test_old="""
        import httpx2, os, pytest

        @pytest.fixture
        def fs():
            os.rename("cassettes", "unseen")
            yield
            os.rename("unseen", "cassettes")

        @pytest.mark.vcr
        def test_answer(fs):
            answer = httpx2.post("https://api.openai.com/v1/chat/completions", json={"prompt": "hi"})
            assert answer.json() == {"answer": "from vcrpy"}
        """,
    )
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("-p", "pyfakefs", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "error")
    result.assert_outcomes(passed=1)
