"""How old a recording is, by the moment that its cassette names."""

from __future__ import annotations

import datetime
import sys
import time

import pytest

from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.recording.storing.machine_clock import machine_time
from aquila.recording.storing.recording_age import age_in_days, describe_age, is_older, leave_out_outdated


def moment(*, zone: datetime.tzinfo | None = datetime.UTC, **ago: float) -> str:
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(**ago)
    return (then.replace(tzinfo=None) if zone is None else then.astimezone(zone)).isoformat()


@pytest.mark.parametrize("zone", [datetime.UTC, None, datetime.timezone(datetime.timedelta(hours=-7))])
def test_a_moment_without_a_zone_is_one_of_utc(zone: datetime.tzinfo | None) -> None:
    assert age_in_days(moment(days=2, zone=zone)) == pytest.approx(2, abs=0.01)


def test_a_recording_is_old_from_its_age_on_and_never_where_no_moment_is_known() -> None:
    assert is_older(moment(days=3), 2.9)
    assert not is_older(moment(days=3), 3.1)
    assert not is_older(moment(days=3), None)
    assert not is_older("", 0.1)
    assert not is_older("last summer", 0.1)


def test_with_one_outdated_recording_of_a_request_all_of_it_are_recorded_again() -> None:
    rows = [
        Interaction(RecordedRequest("GET", f"https://x.example/{path}"), RecordedResponse(200), recorded)
        for path, recorded in (("a", "new"), ("b", "new"), ("a", "old"))
    ]
    kept, slots = leave_out_outdated(
        Cassette.from_interactions(rows), lambda request: request.url[-1], lambda each: each.recorded == "old"
    )
    assert (kept.interactions, slots) == ((rows[1],), {("a", 0), ("a", 1)})


def test_an_age_is_told_in_the_largest_unit_that_it_fills() -> None:
    ages = {"hours": (1.5, 23.5), "days": (1.5, 3.5)}
    told = [describe_age(moment(**{unit: number})) for unit, numbers in ages.items() for number in numbers]
    assert told == ["1 hour old", "23 hours old", "1 day old", "3 days old"]
    assert describe_age(moment(hours=-1)) == "just recorded", "by a machine whose clock is ahead"
    assert describe_age("") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no clock that tests leave alone")
def test_the_age_does_not_depend_on_a_clock_that_a_test_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a mock that counts, or that has a value for each call of the program and no more."""
    calls: list[object] = []
    before = datetime.datetime.now(datetime.UTC)
    monkeypatch.setattr(time, "time", lambda: calls.append(None) or 0.0)
    assert abs(machine_time() - before) < datetime.timedelta(hours=1)
    assert not calls
