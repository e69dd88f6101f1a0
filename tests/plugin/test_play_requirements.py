"""The messages of tests that leave scripted answers unused, or play old recordings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_aquila.scope_ends import check_plays

LENIENT = {
    "transport": "replay",
    "faults": None,
    "unplayed": "ignore",
    "outdated": "ignore",
    "max_age": None,
    "unused": "ignore",
}


def failure_of(settings: dict[str, Any], **scope: Any) -> str:
    scripts = SimpleNamespace(is_written=False, from_files={})
    known: dict[str, Any] = {"scripts": scripts, **scope}
    with pytest.raises(pytest.fail.Exception) as failed:
        check_plays(SimpleNamespace(settings=SimpleNamespace(**LENIENT | settings), **known))  # type: ignore[arg-type]
    return str(failed.value)


@pytest.mark.parametrize(("count", "more"), [(20, None), (21, "and 1 more"), (300, "and 280 more")])
def test_of_many_unused_answers_the_first_twenty_are_shown_and_the_others_counted(count: int, more: str | None) -> None:
    script = SimpleNamespace(left=[f"answer {number}" for number in range(count)], unused=None)
    lines = failure_of(
        {"unused": "fail"}, scripts=SimpleNamespace(is_written=True, written=script, from_files={})
    ).splitlines()
    assert lines[0] == f"{count} scripted answers were not asked for:"
    assert lines[1:21] == [f"  answer {number}" for number in range(20)]
    assert lines[21:-1] == ([] if more is None else [f"  {more}"])


def test_of_several_old_recordings_the_oldest_is_named() -> None:
    def session(name: str, *moments: str) -> SimpleNamespace:
        played = [SimpleNamespace(recorded=moment) for moment in moments]
        return SimpleNamespace(name=name, plays=SimpleNamespace(in_order=lambda: played))

    sessions = [session("a", "2020-01-01T00:00:00Z", "2010-01-01T00:00:00Z"), session("b", "2015-01-01T00:00:00Z")]
    message = failure_of(
        {"outdated": "fail", "max_age": 90.0},
        sessions=SimpleNamespace(opened=lambda: sessions),
        block_reports=[],
        record_command=lambda: "pytest --aquila-record",
    )
    assert message.startswith("cassette a: a recording of 2010-01-01T00:00:00Z is ")
    assert "may be 90 days old" in message
