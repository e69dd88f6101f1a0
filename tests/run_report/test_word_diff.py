"""The words in which two texts differ."""

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aquila.run_report.word_diff import Steps, word_changes

WORDS = st.lists(st.sampled_from(["a", "b", "cat", " ", " ", "\n", ".", "猫", "\ud83d", "\x00"])).map("".join)
TEXTS = WORDS | st.text(st.characters(exclude_categories=()))


def join(changes, kind):
    return "".join(text for one, text in changes if one in ("same", kind))


@given(TEXTS, TEXTS)
@example("", "")
@example("a b", "b a")
@example("a\nb\n", "")
def test_the_pieces_are_the_two_texts(was, now):
    changes = word_changes(was, now)
    assert join(changes, "removed") == was
    assert join(changes, "added") == now
    kinds = [kind for kind, _ in changes]
    assert all(text for _, text in changes)
    assert all(
        pair not in (("added", "removed"), *zip(kinds, kinds, strict=True)) for pair in itertools.pairwise(kinds)
    )


@given(TEXTS)
def test_a_text_is_the_same_as_itself(text):
    assert word_changes(text, text) == ([("same", text)] if text else [])


@pytest.mark.parametrize(
    ("was", "now", "changes"),
    [
        ("Name the bird.", "Name the big bird.", [("same", "Name the "), ("added", "big "), ("same", "bird.")]),
        (
            "in one sentence, please",
            "in two sentences, please",
            [("same", "in "), ("removed", "one sentence"), ("added", "two sentences"), ("same", ", please")],
        ),
        ("我喜欢猫", "我喜欢狗", [("same", "我喜欢"), ("removed", "猫"), ("added", "狗")]),
        (
            "at 10:15, 1.5 kg",
            "at 10:30, 1.5 kg",
            [("same", "at "), ("removed", "10:15"), ("added", "10:30"), ("same", ", 1.5 kg")],
        ),
        ("a b c", "a c", [("same", "a "), ("removed", "b "), ("same", "c")]),
    ],
)
def test_what_changed_is_told_in_words(was, now, changes):
    assert word_changes(was, now) == changes


@pytest.mark.slow
def test_of_long_texts_only_what_changed_is_a_change():
    lines = [f"line {number} of a long prompt\n" for number in range(20_000)]
    was = "".join(lines)
    lines[7] = "line 7 of another prompt\n"
    lines[19_000] = "the last\n"
    changes = word_changes(was, "".join(lines))
    assert ("removed", "a long ") in changes
    assert ("added", "another ") in changes
    assert sum(len(text) for kind, text in changes if kind != "same") < 100


def test_comparisons_that_share_their_work_stop_when_none_is_left():
    steps = Steps(9000)
    was, now = " ".join(map(str, range(60))), " ".join(map(str, range(0, 120, 2)))
    assert len(word_changes(was, now, steps)) > 10
    while steps.left > 0:
        word_changes(was, now, steps)
    assert word_changes(was, now, steps) == [("same", "0 "), ("removed", was[2:]), ("added", now[2:])]
    assert word_changes("a b c", "a d c", steps) == [("same", "a "), ("removed", "b"), ("added", "d"), ("same", " c")]


def test_many_changed_lines_of_long_texts_are_told_apart_from_the_rest():
    was = [f"the line {number} has words\n" for number in range(3000)]
    now = [line if number % 10 else f"now {number} is different\n" for number, line in enumerate(was)]
    changes = word_changes("".join(was), "".join(now))
    assert join(changes, "removed") == "".join(was)
    assert join(changes, "added") == "".join(now)
    assert any(kind == "same" and "".join(was[1:10]) in text for kind, text in changes)


@pytest.mark.slow
@pytest.mark.parametrize("alphabet", ["a ", "ab \n", "abcdefghijklmnopqrstuvwxyz     \n", "a"])
def test_texts_of_a_megabyte_are_compared_in_bounded_work(alphabet):
    chance = random.Random(1)
    was, now = ("".join(chance.choices(alphabet, k=1_000_000)) for _ in range(2))
    changes = word_changes(was, now)
    assert join(changes, "removed") == was
    assert join(changes, "added") == now
