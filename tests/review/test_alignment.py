"""Which recordings of two versions of a cassette belong together, when a prompt has changed in many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette
from aquila.review import alignment
from aquila.review.alignment import Row, align_recordings
from tests.cli.conftest import conversation
from tests.review.test_reviewing import key_of

RULES = MatchRules()
ASKED = "a question of some length about the number"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With how many recordings each request was compared. At most with ten."""
    found: list[int] = []
    find = alignment.find_nearest_recordings

    def count(request: Any, recordings: Sequence[Any], most: int) -> list[int]:
        found.append(len(recordings))
        return find(request, recordings, most)

    monkeypatch.setattr(alignment, "find_nearest_recordings", count)
    monkeypatch.setattr(alignment, "_MOST_COMPARED", 10)
    return found


def version(system: str, numbers: Sequence[int]) -> Cassette:
    return Cassette.from_interactions(conversation(f"{system} {ASKED} {number}", f"{number}") for number in numbers)


@pytest.mark.parametrize("count", [15, 30])
def test_a_changed_prompt_is_seen_in_any_number_of_recordings(compared: list[int], count: int) -> None:
    old, new = version("Be kind.", range(count)), version("Be brief.", range(count))
    assert align_recordings(old, new, key_of, RULES) == [Row(n, n, same_request=False) for n in range(count)]
    assert len(compared) == count
    assert max(compared) == 10


def test_recordings_that_are_gone_or_new_do_not_hide_the_others(compared: list[int]) -> None:
    kept = [*range(3), *range(17, 30)]  # more are gone than a request is compared with
    old, new = version("Be kind.", range(30)), version("Be brief.", [*kept, *range(90, 93)])
    rows = align_recordings(old, new, key_of, RULES)
    changed = [row for row in rows if row.was is not None and row.now is not None]
    assert len(changed) >= 16
    assert len({row.was for row in rows} - {None}) == 30
    assert len({row.now for row in rows} - {None}) == 19
    assert max(compared) == 10
