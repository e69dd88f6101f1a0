"""Where a text is too long to be shown, no part of a key is left at the cut: half a key is recognized by nothing."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.huey import MemoryHuey, error_texts
from aquila.huey.live import redacting
from aquila.huey.live.events import TEXT
from aquila.huey.live.job_record import JobRecord, clean_tail
from aquila.huey.live.redacting import describe_arguments, describe_error, redact_arguments, redact_text
from aquila.huey.live.summaries import JobRun
from aquila.huey.testing import build_task
from tests.support.examples import examples

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
KEYS = st.text(ALPHABET, min_size=24, max_size=600).filter(lambda key: len(set(key)) > 12)
LONG_KEY = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu" * 12


class Shown:
    __slots__ = ("text",)

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return f"Shown({self.text})"


@pytest.fixture(scope="module")
def job():
    @MemoryHuey("jobs").task()
    def job(value):
        """Do nothing."""

    return job


@pytest.fixture(scope="module")
def bounds():
    """Bounds that are soon reached, so that many cuts can be tried."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(error_texts, "_MOST_SEARCHED", 8_000)
        patch.setattr(error_texts, "_LONGEST_SECRET", 1_000)
        patch.setattr(redacting, "_LONGEST_PART", 4_000)
        yield


def part_of(key, shown):
    return next((key[at : at + 8] for at in range(len(key) - 7) if key[at : at + 8] in shown), None)


@settings(max_examples=examples(60), deadline=None)
@given(KEYS, st.text("ab \n", max_size=3_000), st.sampled_from(["\n", " ", "-", "x"]), st.integers(1, 12_000))
@example(LONG_KEY, "", "\n", 115_200)
def test_no_part_of_a_key_is_shown_wherever_a_text_is_cut(job, bounds, key, before, between, length):
    text = before + (key + between) * (length // len(key) + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_API_KEY", key)
        error = ValueError(text)
        told = [*describe_error(error)]
        for value in (text, Shown(text), [text, {"name": text}], Shown(f"{before * 2}, password='{key}")):
            told.append(redact_arguments(describe_arguments(build_task(job, value))))
    assert [part_of(key, one) for one in told] == [None] * len(told)


@pytest.mark.parametrize("pieces", [40, 1_000])
def test_the_end_of_an_answer_begins_with_no_part_of_a_key(pieces, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", LONG_KEY)
    record = JobRecord(None, None, JobRun("1"))
    for _ in range(pieces):
        record.add_text(TEXT, 0.0, f"{LONG_KEY}\n", content=True)
    assert part_of(LONG_KEY, clean_tail(record.run.tail)) is None
    record.add_text(TEXT, 0.0, "word " * 1_000, content=True)
    assert clean_tail(record.run.tail) == ("word " * 1_000)[-160:]


@pytest.mark.parametrize("length", [3_900, 6_000, 90_000])
def test_a_long_key_that_comes_in_pieces_is_shown_in_no_part(length, monkeypatch):
    key = (LONG_KEY * (length // len(LONG_KEY) + 1))[:length]
    monkeypatch.setenv("MY_API_KEY", key)
    record, told = JobRecord(None, None, JobRun("1")), []

    def publish():
        told.extend(redact_text(data["text"]) for _, _, data in record.take_batch())

    for at in range(0, length, 997):
        record.add_text(TEXT, 0.0, f"begun {key[at : at + 997]}" if not at else key[at : at + 997], content=True)
        publish()
        told.append(clean_tail(record.run.tail, is_over=False))
    record.add_text(TEXT, 0.0, " and" * 1_000 + " ended", content=True)
    told.append(clean_tail(record.run.tail, is_over=False))
    record.is_over = True
    publish()
    told.append(clean_tail(record.run.tail))
    assert part_of(key, "\n".join(told)) is None
    assert "begun" in told[0]
    assert "ended" in told[-1]


def test_no_part_of_a_key_is_published_before_what_is_too_much(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", LONG_KEY)
    record = JobRecord(None, None, JobRun("1"))
    record.add_text(TEXT, 0.0, "a " * 499_000 + LONG_KEY[:300], content=True)
    record.add_text(TEXT, 0.0, LONG_KEY[300:] + " b" * 1_000, content=True)
    record.is_over = True
    ((_, _, data),) = record.take_batch()
    assert part_of(LONG_KEY, data["text"]) is None


def test_json_without_spaces_is_shown_as_it_grows():
    record = JobRecord(None, None, JobRun("1"))
    record.add_text(TEXT, 0.0, '{"a":"b"},' * 1_000, content=True)
    ((_, _, data),) = record.take_batch()
    assert len(data["text"]) >= 5_000


def test_arguments_without_a_name_are_shown_beside_those_with_one():
    @MemoryHuey("app").task()
    def job(password, *others, **named):
        """Do nothing."""

    shown = {"password": "[redacted]", "args": [2]}
    assert json.loads(redact_arguments(describe_arguments(job.s("hunter2hunter2", 2)))) == shown
    assert json.loads(redact_arguments(describe_arguments(job.s("hunter2hunter2", 2, age=3)))) == {**shown, "age": 3}


def test_long_arguments_are_cut(job):
    shown = redact_arguments(describe_arguments(build_task(job, ["word " * 10] * 1_000)))
    assert (len(shown), shown[-2:]) == (16_002, " …")


def test_a_long_error_keeps_its_class_and_its_end():
    message, traceback = describe_error(ValueError(f"begun {'word ' * 500_000} ended"))
    assert message.startswith("ValueError: begun word")
    assert traceback.endswith("word  ended\n")
    assert describe_error(ValueError("x" * 3_000_000))[0].startswith("ValueError: …")


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_secret_is_recognized_by_its_name_also_where_the_code_around_a_task_was_replaced(is_wrapped):
    """As by what traces tasks."""

    @MemoryHuey("app").task()
    def job(password):
        """Do nothing."""

    func = job.task_class.execute

    def traced(task):
        return func(task)

    job.task_class.execute = traced if is_wrapped else len
    assert json.loads(redact_arguments(describe_arguments(job.s("hunter2")))) == {"password": "[redacted]"}
