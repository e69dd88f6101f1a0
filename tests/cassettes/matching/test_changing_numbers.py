"""A miss by numbers and short ids: they may be new in every run, but no kind of `aquila_normalize` has their form."""

from __future__ import annotations

from typing import Any

import pytest

from aquila.cassettes.matching.cures import may_be_fresh
from aquila.cassettes.matching.difference import Difference
from aquila.cassettes.model import RecordedRequest
from tests.cassettes.matching.test_miss_message import chat, explain, explanation_of

REMARK = "Only numbers and words with digits differ in messages[1].content. If they are new in every run"


@pytest.mark.parametrize(
    ("recorded", "now"),
    [
        ("It took 1.23 s.", "It took 12.5 s."),
        ("pid 4711 on port 49213", "pid 815 on port 51000"),
        ("job a1b2c3: retry", "job 9fz81k: retry"),
        ("3 books", "5 books"),
    ],
)
def test_a_miss_by_numbers_alone_says_so_and_names_no_setting_that_may_be_wrong(recorded: str, now: str) -> None:
    shown = " ".join(explain(chat(now), chat(recorded)).split())
    assert REMARK in shown
    assert r"for example aquila_normalize = /took [\d.]+ s/ If the change is meant" in shown


@pytest.mark.parametrize(
    ("recorded", "now"), [("It took 1.23 s.", "That took 12.5 s."), ("job a1", "job none"), ("v1 of it", "v1 of that")]
)
def test_nothing_is_said_of_numbers_where_something_else_differs(recorded: str, now: str) -> None:
    assert "Only numbers and words" not in explain(chat(now), chat(recorded))


@pytest.mark.parametrize(("model", "version"), [("gpt-5", "v1"), ("gpt-4.1", "v2")])
def test_nothing_is_said_of_the_numbers_of_a_model_or_a_version(model: str, version: str) -> None:
    recorded, now = ({"model": one, "prompt_version": two} for one, two in (("gpt-4.1", "v1"), (model, version)))
    assert "Only numbers" not in explain(chat("hi", **now), chat("hi", **recorded))


ID = {"run_id": "a7f3"}
FRESH: list[tuple[RecordedRequest, RecordedRequest, str]] = [
    (chat("hi", seed=1), chat("hi", seed=2), "If seed is new in every run"),
    (chat("hi", job=ID), chat("hi", job={"run_id": "b812"}), "If job.run_id is new in every run"),
    (chat("hi", elapsed=0.25), chat("hi", elapsed=1.5), "If elapsed is new in every run"),
]


def test_several_fields_are_left_out_together() -> None:
    shown = explain(chat("hi", seed=2, elapsed=1.5), chat("hi", seed=1, elapsed=0.5))
    assert "If seed and elapsed are new in every run, leave them out of the comparison:" in shown


@pytest.mark.parametrize(("recorded", "now", "says"), FRESH)
def test_a_field_of_a_short_id_or_number_is_advised_to_be_left_out(
    recorded: RecordedRequest, now: RecordedRequest, says: str
) -> None:
    explained = explanation_of(now, recorded)
    assert says in explained.text
    path = says.split()[1]
    assert f"  aquila_ignore = {path}\n" in explained.text
    assert explained.setting == f"aquila_ignore = {path}"


@pytest.mark.parametrize(
    ("name", "recorded", "now"),
    [
        ("model_id", "ibm/granite-3-8b", "ibm/granite-4-8b"),
        ("modelId", "nova-2", "nova-3"),
        ("deployment_id", "chat-4", "chat-5"),
        ("voice_id", "21m00Tcm4Tlv", "29vD33N1Ctxc"),
    ],
)
def test_nothing_is_advised_of_an_id_that_says_who_answers(name: str, recorded: str, now: str) -> None:
    shown = explain(chat("hi", **{name: now}), chat("hi", **{name: recorded}))
    assert f"{name} differs" in shown
    assert "new in every run" not in shown


@pytest.mark.parametrize(
    ("path", "recorded", "now", "expected"),
    [
        ("seed", 1, 2, True),
        ("metadata.userId", "u1", "u2", True),
        ("thread_ids[0]", "a1", "a2", True),
        ("duration_ms", 12, 15.5, True),
        ("grid", 1, 2, False),
        ("temperature", 0.2, 0.7, False),
        ("max_tokens", 10, 20, False),
        ("id", "none", "a2", False),
        ("id", True, False, False),
        ("id", 1, None, False),
    ],
)
def test_a_field_may_be_fresh_by_its_name_and_both_its_values(
    path: str, recorded: Any, now: Any, expected: bool
) -> None:
    assert may_be_fresh(Difference(path, recorded, now, in_body=True)) is expected
