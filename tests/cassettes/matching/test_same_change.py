"""One edit of a template is one change of the requests that are made of it, whatever stands beside the edit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.difference import Difference, identify_change

WORDS = st.text(st.sampled_from("ab\n "), max_size=8).map(str.strip)


def change(recorded: str, now: str) -> str:
    return identify_change([Difference("prompt", recorded, now)])


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: (f"Digest {text}", f"Digest briefly: {text}"),
        lambda text: (text, f"Be brief. {text}"),
        lambda text: (f"Digest {text}", f"Digest {text} in a sentence"),
        lambda text: (f"Digest {text} in a sentence", f"Digest {text}"),
        lambda text: (f"Digest {text} now", f"Digest {text} soon"),
    ],
)
def test_words_that_come_or_go_beside_a_text_are_one_change_whatever_the_text(
    edit: Callable[[str], tuple[str, str]],
) -> None:
    assert len({change(*edit(text)) for text in ("x", "shared", "threads 0", "Oslo,\nand Bergen")}) == 1


def test_a_word_that_became_longer_is_another_change_than_one_that_came() -> None:
    assert change("Digest it", "Digest items") != change("Digest", "Digest ems")


@given(WORDS, WORDS)
def test_a_change_is_not_the_opposite_one(one: str, other: str) -> None:
    assert (change(one, other) == change(other, one)) == (one == other)
