"""Dead letters, asserted and refuted."""

import pytest

from aquila.errors import ConfigError
from aquila.huey.testing import (  # fmt: skip
    assert_dead_letter,
    drain_queue,
    perform_job,
    refute_dead_letter,
    run_consumer,
)


@pytest.fixture
def divide(huey):
    @huey.task(retries=1)
    def divide(a, b=0):
        return a / b

    return divide


def test_a_task_that_failed_for_good_is_found_by_its_arguments(huey, divide):
    divide(1)
    divide(2, b=1)
    divide(3)
    refute_dead_letter()
    drain_queue(raise_errors=False)
    letter = assert_dead_letter(divide, a=1, kind="failed", reason="ZeroDivisionError")
    assert letter.task_name.endswith("divide")
    assert assert_dead_letter().id == assert_dead_letter(divide, 1, queue="app").id == letter.id
    assert assert_dead_letter(divide, 3).id != letter.id
    refute_dead_letter(divide, a=2)
    refute_dead_letter(divide, reason="ValueError")
    refute_dead_letter(kind="unreadable")


def test_an_attempt_that_is_retried_leaves_none(huey, divide):
    perform_job(divide, 1, raises=ZeroDivisionError)
    refute_dead_letter(divide)


def test_an_unreadable_message_is_found_by_its_kind(huey, divide):
    with run_consumer(raise_errors=False) as consumer:
        huey.storage.enqueue(b"not a message")
        consumer.wait_until_empty()
    assert_dead_letter(kind="unreadable")
    with pytest.raises(AssertionError, match=r"no dead letter matches .*divide"):
        assert_dead_letter(divide)


def test_messages_say_what_there_is(huey, divide):
    with pytest.raises(AssertionError, match="There are no dead letters"):
        assert_dead_letter(divide)
    divide(1)
    drain_queue(raise_errors=False)
    with pytest.raises(AssertionError, match=r"divide\(b=1\). There are:\n  1. .*divide\(1\) failed: .*Zero"):
        assert_dead_letter(divide, b=1)
    with pytest.raises(AssertionError, match=r"and none should:\n  1. failed: ZeroDivisionError"):
        refute_dead_letter(divide)
    with pytest.raises(ConfigError, match="needs a function decorated"):
        assert_dead_letter(len)


@pytest.mark.usefixtures("huey")
@pytest.mark.parametrize("function", [assert_dead_letter, refute_dead_letter])
def test_a_kind_that_is_none_is_refused(function):
    with pytest.raises(ConfigError, match=r"no kind 'faild' of dead letters; did you mean 'failed'\?"):
        function(kind="faild")
