"""What a continuation of a cut answer adds to it, for every text and every cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.engine.streams.cut_answers import CutAnswer, Prefill
from tests.support.examples import examples

words = st.text(st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x0DFF), min_size=1, max_size=12)
prose = st.lists(words, min_size=1, max_size=20).map(" ".join)


def join_all(cut: CutAnswer, text: str, sizes: list[int]) -> str:
    """What is handed on of a continuation that comes in pieces of these sizes, and then in single characters."""
    joined = ""
    while text:
        size = sizes.pop(0) if sizes else 1
        joined += cut.join(text[:size])
        text = text[size:]
    return joined


@given(prose, st.data(), st.lists(st.integers(1, 7), max_size=10))
@settings(max_examples=examples(200))
def test_a_continuation_that_repeats_the_cut_word_completes_the_answer(
    whole: str, data: st.DataObject, sizes: list[int]
) -> None:
    at = data.draw(st.integers(0, len(whole)))
    before = whole[:at]
    word_begins = at if before[-1:].isspace() else len(before) - len((before.split() or [""])[-1])
    assert before + join_all(CutAnswer(before), whole[word_begins:], sizes) == whole


@given(prose, st.data(), st.booleans(), st.lists(st.integers(1, 7), max_size=10))
@settings(max_examples=examples(200))
def test_a_continuation_of_the_same_message_completes_the_answer(
    whole: str, data: st.DataObject, writes_space_again: bool, sizes: list[int]
) -> None:
    at = data.draw(st.integers(0, len(whole)))
    before = whole[:at]
    after = whole[len(before.rstrip()) :] if writes_space_again else whole[at:]
    assert before + join_all(CutAnswer(before, Prefill()), after, sizes) == whole


@pytest.mark.parametrize(
    ("before", "continuation", "added"),
    [
        ("Eagles fl", "fly high.", "y high."),
        ("Eagles fly", " fly high.", " high."),
        ("Eagles fly", "soar high.", " soar high."),  # another word: what was handed out stays
        ("Eagles fly", ", and soar.", ", and soar."),
        ("Eagles fly ", " high.", "high."),
        ("Eagles fly\n", "\nHigh.", "\nHigh."),  # a new paragraph
        ("鷲は高く", "飛ぶ。", "飛ぶ。"),  # no white space between words
        ("독수리는 높", "높이 난다.", "이 난다."),
        ("", "Eagles fly.", "Eagles fly."),
        ("Eag", "Eagles fly.", "les fly."),  # asked for anew
        ("\n", "\nEagles fly.", "Eagles fly."),
        ("x" * 41, "y", "y"),  # no word
        ("Eagles fly", "fl", ""),  # the continuation was cut in its first word
        ("Eagles fly", "fly", ""),
    ],
)
def test_a_continuation_adds_only_what_is_missing(before: str, continuation: str, added: str) -> None:
    assert join_all(CutAnswer(before), continuation, [1] * 100) == added
    assert CutAnswer(before).join(continuation) == added
