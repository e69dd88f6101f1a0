"""How old a recording is."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterable

from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.storage.recording_slots import Slot
from aquila.recording.storing import machine_clock

_UNITS = ((1.0, "day"), (1 / 24, "hour"), (1 / 1440, "minute"))


def age_in_days(recorded: str) -> float | None:
    """Return the age in days of a recording made at the time ``recorded``, or None if that is no time."""
    try:
        then = datetime.datetime.fromisoformat(recorded)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return (machine_clock.machine_time() - then).total_seconds() / 86400


def is_older(recorded: str, days: float | None) -> bool:
    """Whether a recording made at the time ``recorded`` is older than ``days``. Without a time it never is."""
    age = age_in_days(recorded) if days is not None else None
    return age is not None and days is not None and age > days


def describe_age(recorded: str) -> str:
    """Return an age in words, such as ``3 hours old``; empty if it is not known."""
    age = age_in_days(recorded)
    if age is None:
        return ""
    for days, unit in _UNITS:
        if age >= days:
            number = int(age / days)
            return f"{number:,} {unit} old" if number == 1 else f"{number:,} {unit}s old"
    return "just recorded"


def latest_moment(interactions: Iterable[Interaction]) -> str:
    """Return the time of the latest recording, or ""."""
    return max((each.recorded for each in interactions), default="")


def leave_out_outdated(
    cassette: Cassette, key_of: Callable[[RecordedRequest], str], is_outdated: Callable[[Interaction], bool]
) -> tuple[Cassette, frozenset[Slot]]:
    """Return a cassette without all recordings of each key that has an outdated one, and their slots."""
    outdated = {key_of(each.request) for each in cassette.interactions if is_outdated(each)}
    if not outdated:
        return cassette, frozenset()
    keys = [key_of(each.request) for each in cassette.interactions]
    kept = [each for key, each in zip(keys, cassette.interactions, strict=True) if key not in outdated]
    counts = Counter(key for key in keys if key in outdated)
    slots = frozenset((key, at) for key, count in counts.items() for at in range(count))
    return Cassette.from_interactions(kept), slots
