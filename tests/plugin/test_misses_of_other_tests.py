"""A miss names the cassette of another test that has the request, as after a run in which a cache had the answer."""

from __future__ import annotations

import pytest

from aquila.cassettes.storage import cassette_files
from tests.plugin.conftest import Project

CACHED = """
import functools

cached = functools.cache(post)

def test_first(aquila_cassette):
    cached("of both")

def test_second(aquila_cassette):
    cached("of both"), post("of the second alone")

def test_third(aquila_cassette):
    cached("of both")
"""
PLACE = "The same request is recorded in cassettes/test_app/test_first.yaml."
ADVICE = "a cache, or something else that tests share, may have had the answer"


def test_a_miss_of_what_a_cache_had_when_it_was_recorded_names_the_other_test(project: Project) -> None:
    project.record(tests=CACHED)
    project.run().assert_outcomes(passed=3)
    for test in ("test_second", "test_third"):  # one with a cassette that lacks the request, and one without
        result = project.run(f"test_app.py::{test}")
        result.assert_outcomes(failed=1)
        output = result.stdout.str()
        assert PLACE in output
        assert ADVICE in output


def test_a_request_that_is_recorded_nowhere_names_no_other_test(project: Project) -> None:
    project.record(tests=CACHED)
    output = project.run(tests=CACHED.replace("of the second alone", "another")).stdout.str()
    assert "missed" in output
    assert "The same request is recorded" not in output


def test_a_request_that_is_made_once_more_than_recorded_names_no_other_test(project: Project) -> None:
    project.record(tests="def test_a(aquila_cassette): post('x')\ndef test_b(aquila_cassette): post('x')\n")
    output = project.run(tests="def test_a(aquila_cassette): post('x'), post('x')\n").stdout.str()
    assert "this is request number 2 of its kind" in output
    assert "The same request is recorded" not in output


def test_for_a_miss_at_most_fifty_cassettes_are_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = """
        import pytest

        @pytest.mark.parametrize("number", range(60))
        def test_it(aquila_cassette, number):
            post(f"one of {number}")

        def test_last(aquila_cassette):
            post("the last")
    """
    project.record(tests=tests)
    read = []
    load = cassette_files.load_cassette
    monkeypatch.setattr(cassette_files, "load_cassette", lambda path, **rest: read.append(path) or load(path, **rest))
    project.run("-k", "last", tests=tests.replace("the last", "changed")).assert_outcomes(failed=1)
    assert len(read) == 50 + 1  # one is the cassette of the test itself
