"""What is enqueued: listed, asserted, refuted, with messages that help."""

import datetime as dt
import logging
import threading
from unittest.mock import ANY

import pytest
from huey import MemoryHuey, crontab
from huey.api import chord

import aquila.huey
from aquila.errors import ConfigError, TaskError
from aquila.huey.testing import (
    all_enqueued,
    assert_enqueued,
    assert_unique,
    drain_queue,
    refute_enqueued,
    run_periodic,
    task_matching,
    use_test_queue,
)
from tests.huey.sample_tasks import Array, returning


@pytest.fixture
def send(huey):
    @huey.task()
    def send(to, subject="hello", **more):
        return to

    return send


@pytest.fixture
def save(huey):
    @huey.task()
    def save(document):
        return 1

    return save


def test_every_enqueued_task_is_listed_due_or_not(huey, send, save):
    save({})
    send.schedule(("a@b",), delay=60)
    huey.execute(huey.dequeue())  # Moves nothing: save is executed.
    send.schedule(("c@d",), delay=3600)
    task = huey.dequeue()
    huey.execute(task)  # A worker moves what is not due into the schedule.
    assert (huey.pending_count(), huey.scheduled_count()) == (1, 1)
    assert sorted(task.args[0] for task in all_enqueued()) == ["a@b", "c@d"]
    assert [task.args for task in all_enqueued(send, scheduled_in=3600)] == [("c@d",)]
    assert all_enqueued(save) == []


def test_arguments_match_by_name_however_they_were_passed(send):
    send("a@b", "hi", urgent=True)
    for call in [
        lambda: assert_enqueued(send, "a@b"),
        lambda: assert_enqueued(send, "a@b", "hi"),
        lambda: assert_enqueued(send, to="a@b"),
        lambda: assert_enqueued(send, subject="hi", to=ANY),
        lambda: assert_enqueued(send, urgent=True),
        assert_enqueued,
    ]:
        assert call().args == ("a@b", "hi")
    for call in [
        lambda: assert_enqueued(send, "c@d"),
        lambda: assert_enqueued(send, "a@b", "hi", "more"),
        lambda: assert_enqueued(send, to="c@d"),
        lambda: assert_enqueued(send, urgent=False),
        lambda: assert_enqueued(send, missing=1),
    ]:
        with pytest.raises(AssertionError):
            call()


def test_arguments_by_position_match_those_by_keyword(huey, send):
    @huey.task()
    def add(first, *numbers):
        return first

    send(subject="hi", to="a@b")
    add(1, 2, 3)
    assert_enqueued(send, "a@b", "hi")
    assert_enqueued(add, 1, 2)
    for wrong in (lambda: refute_enqueued(send, "a@b"), lambda: refute_enqueued(add, ANY, 2, 3)):
        with pytest.raises(AssertionError, match="and should not be"):
            wrong()
    refute_enqueued(add, 1, 2, 3, 4)
    with pytest.raises(AssertionError, match="to: expected 'c@d', is 'a@b'"):
        assert_enqueued(send, "c@d")
    with pytest.raises(AssertionError, match="argument 2: expected 4, is 2"):
        assert_enqueued(add, 1, 4)


def test_dictionaries_match_by_subset_at_every_depth(save):
    save({"id": 1, "tags": [{"name": "a", "colour": "red"}, {"name": "b"}], "pair": (1, 2)})
    assert_enqueued(save, {"id": 1})
    assert_enqueued(save, document={"tags": [{"name": "a"}, ANY]})
    assert_enqueued(save, document={"pair": (1, ANY)})
    for wrong in ({"id": 2}, {"tags": [{"name": "a"}]}, {"tags": ({"name": "a"}, ANY)}, {"more": ANY}):
        with pytest.raises(AssertionError):
            assert_enqueued(save, wrong)
        refute_enqueued(save, wrong)
    with pytest.raises(AssertionError, match=r"document\['tags'\]\[0\]\['name'\]: expected 'b', is 'a'"):
        assert_enqueued(save, {"tags": [{"name": "b"}, ANY]})


@pytest.mark.parametrize("ask", [assert_enqueued, refute_enqueued])
def test_an_argument_whose_comparison_raises_is_named_and_can_be_compared_otherwise(ask):
    huey = MemoryHuey("pickles")
    save = huey.task()(lambda document, at=0: 1)
    with use_test_queue(huey):
        save(Array(), 1)
        refute_enqueued(save, 7)
        assert_enqueued(save, at=1, where=lambda task: isinstance(task.args[0], Array))
        save([Array()])
        with pytest.raises(ConfigError, match=r"document\[0\] cannot be compared, ValueError: .*where="):
            ask(save, [Array()])
        with pytest.raises(
            ConfigError, match=r"\(.*\) and another task cannot be compared, ValueError: .*all_enqueued"
        ):
            assert_unique(save)


@pytest.mark.parametrize("wanted", [60, dt.timedelta(minutes=1), (50, 20), (dt.timedelta(seconds=59), 5)])
def test_a_schedule_matches_within_its_tolerance(send, wanted):
    send.schedule(("a@b",), delay=60)
    assert_enqueued(send, scheduled_in=wanted)
    refute_enqueued(send, scheduled_in=0)
    refute_enqueued(send, scheduled_in=(10, 5))


def test_a_schedule_is_compared_in_the_hueys_own_time():
    huey = MemoryHuey(utc=False)

    @huey.task()
    def send(to):
        return to

    with use_test_queue(huey):
        send.schedule(("a@b",), delay=60)
        assert_enqueued(send, scheduled_in=60)


def test_priority_and_any_other_condition(send):
    send("a@b", priority=5)
    assert_enqueued(send, priority=5, where=lambda task: task.retries == 0)
    refute_enqueued(send, priority=4)
    refute_enqueued(send, where=lambda task: task.retries > 0)


def test_a_task_inside_another_is_found_on_request(huey, send, save):
    huey.enqueue(save.s({}).then(send, "follow").error(send, "error"))
    huey.enqueue(chord([save.s({})], send.s("callback")))
    for place in ("follow", "error", "callback"):
        refute_enqueued(send, place)
        assert_enqueued(send, place, nested=True)
    with pytest.raises(AssertionError, match=r"lies inside another.*nested=True"):
        assert_enqueued(send, "follow")


def test_the_message_lists_what_is_enqueued_and_the_nearest(huey, send, save):
    save({"id": 1})
    send("x@y", "other")
    send.schedule(("a@b",), {"subject": "hi"}, delay=120)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(send, to="a@b", subject="bye")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{__name__}.send(to='a@b', subject='bye') is not enqueued. Enqueued is:"
    assert lines[1] == f"  1. {__name__}.save({{'id': 1}})"
    assert lines[2] == f"  2. {__name__}.send('x@y', 'other')"
    assert lines[3] == f"  3. {__name__}.send('a@b', subject='hi') in 120 s"
    assert lines[4:] == ["The nearest is 3:", "  - subject: expected 'bye', is 'hi'"]


@pytest.mark.parametrize("look", [assert_enqueued, assert_unique])
def test_the_message_says_that_the_queue_is_empty_or_has_another_task(look, send, save):
    with pytest.raises(AssertionError, match="is not enqueued: the queue and the schedule are empty"):
        look(send, to="a@b")
    save({})
    with pytest.raises(AssertionError, match=r"is another task than .*send"):
        look(send)


def test_a_refutation_lists_what_matches(send):
    send("a@b")
    send("c@d")
    with pytest.raises(AssertionError) as caught:
        refute_enqueued(send, to="c@d")
    assert str(caught.value).splitlines() == [
        f"{__name__}.send(to='c@d') is enqueued, and should not be:",
        f"  1. {__name__}.send('c@d')",
    ]


def test_a_parameter_that_does_not_exist_is_an_error_and_no_mismatch(save):
    save({})
    for ask in (all_enqueued, assert_enqueued, refute_enqueued):
        with pytest.raises(ConfigError, match="has no parameter 'documnet'"):
            ask(save, documnet=1)


def test_something_that_is_no_task_is_refused(huey):
    with pytest.raises(ConfigError, match="decorated"):
        refute_enqueued(len)


OPTION_VALUES = {"huey": None, "scheduled_in": None, "priority": 3, "where": None, "nested": False, "timeout": 1}
CALLS = [
    (ask, name)
    for ask in (assert_enqueued, refute_enqueued, all_enqueued)
    for name in OPTION_VALUES
    if (ask, name) != (all_enqueued, "timeout")
]


@pytest.mark.parametrize(("ask", "name"), CALLS, ids=[f"{ask.__name__} {name}" for ask, name in CALLS])
def test_a_parameter_with_the_name_of_an_option_is_never_taken_for_it(huey, ask, name):
    namespace = {}
    exec(f"def odd({name}=0): return {name}", {"__name__": __name__}, namespace)
    odd = huey.task()(namespace["odd"])
    odd.schedule(kwargs={name: "another value"}, delay=0)

    with pytest.raises(ConfigError, match=rf"{ask.__name__} has an option of that name.*kwargs=\{{'{name}': ...\}}"):
        ask(odd, **{name: OPTION_VALUES[name]})


def test_arguments_stand_apart_from_options_in_kwargs(huey):
    @huey.task()
    def odd(a, timeout=0, nested=True):
        return 1

    odd.schedule((1,), {"timeout": 2, "nested": True}, delay=0)
    assert_enqueued(odd, kwargs={"timeout": 2})
    assert_enqueued(odd, kwargs={"timeout": 2}, timeout=0.01, nested=False)
    assert_enqueued(odd, args=[1], kwargs={"nested": True})
    assert all_enqueued(odd, kwargs={"timeout": 1}) == []
    refute_enqueued(odd, kwargs={"nested": False}, timeout=0.01)
    with pytest.raises(AssertionError, match="timeout: expected 1, is 2"):
        assert_enqueued(odd, kwargs={"timeout": 1}, timeout=0.01)
    with pytest.raises(AssertionError):
        refute_enqueued(odd, kwargs={"a": 1})


def test_beside_kwargs_only_options_may_stand(send):
    send("a@b")
    with pytest.raises(ConfigError, match=r"beside them: 'subject'.*huey, nested, priority"):
        assert_enqueued(send, kwargs={"to": "a@b"}, subject="hello")


def test_an_argument_among_any_keywords_with_the_name_of_an_option_is_found_in_kwargs(send):
    send("a@b", nested=True)
    assert_enqueued(send, kwargs={"nested": True})
    refute_enqueued(send, kwargs={"nested": False})
    assert_enqueued(send, kwargs={"to": "a@b"}, nested=False)
    assert_enqueued(send, to="a@b", timeout=0.01)


def test_a_message_that_cannot_be_read_is_an_error_and_not_left_out(huey, send, caplog):
    send("a@b")
    huey.storage.enqueue(b"not a pickle")
    with caplog.at_level(logging.CRITICAL):
        assert len(huey.pending()) == 1  # Huey's own list.
    for look in (all_enqueued, lambda: assert_enqueued(send), lambda: refute_enqueued(send)):
        with pytest.raises(TaskError, match="12 bytes in the queue of 'app' cannot be read"):
            look()
    with pytest.raises(TaskError, match="cannot be read"):
        drain_queue()


def test_waiting_finds_a_task_that_comes_late(send):
    looked = threading.Event()

    def is_late(task):
        looked.set()
        return task.args == ("late",)

    send("first")
    thread = threading.Thread(target=lambda: (looked.wait(60), send("late")))
    thread.start()
    assert assert_enqueued(send, where=is_late, timeout=10).args == ("late",)
    thread.join()


def test_refuting_sees_a_task_that_comes_while_it_waits(send):
    thread = threading.Thread(target=lambda: send("late"))

    def start(task):
        if not thread.ident:
            thread.start()
        return task.args == ("late",)

    send("first")
    with pytest.raises(AssertionError):
        refute_enqueued(send, where=start, timeout=10)
    thread.join()


def test_without_a_huey_under_test_the_way_to_one_is_named():
    with pytest.raises(ConfigError, match="aquila_huey"):
        all_enqueued()


def test_without_a_test_queue_the_real_queue_is_read():
    huey = MemoryHuey()

    @huey.task()
    def send(to):
        return to

    send("a@b")
    assert_enqueued(send, "a@b")
    assert len(all_enqueued(huey=huey)) == 1


def test_a_task_may_be_a_builtin_that_tells_no_signature(huey):
    follow = huey.task()(next)
    follow([], 1)
    assert assert_unique(follow, [], 1).args == ([], 1)
    refute_enqueued(follow, [], 2)


# A second identical job, and several queues


def test_a_task_that_is_enqueued_once_is_unique_whatever_else_is(huey, send):
    send("eve", shout=True)
    send("eve", shout=False)
    send("adam")
    assert assert_unique(send, to="adam").args == ("adam",)
    assert assert_unique(send, "eve").kwargs == {"shout": True}
    assert_unique()


@pytest.mark.parametrize("again", [lambda send: send("eve"), lambda send: send(to="eve"),
                                   lambda send: send.schedule(("eve",), {"subject": "hello"}, delay=60)])  # fmt: skip
def test_a_second_identical_task_is_named_however_it_was_passed(huey, send, again):
    send("adam")
    send("eve")
    again(send)
    assert_unique(send, "adam")
    for search in (lambda: assert_unique(send), lambda: assert_unique(send, to="eve"), assert_unique):
        with pytest.raises(AssertionError, match=r"send\('eve'\) is enqueued 2 times, and should be once:") as failure:
            search()
        assert "adam" not in str(failure.value)


def test_the_arguments_of_each_task_are_bound_once_however_many_there_are(huey, send, monkeypatch):
    bound, find = [], task_matching.signature_of
    for number in range(40):
        send(str(number))
    monkeypatch.setattr(task_matching, "signature_of", lambda function: bound.append(function) or find(function))
    assert_unique(send)
    assert len(bound) <= 3 * 40  # for the parameters, to choose the tasks, and to compare them


def test_of_a_task_that_is_unique_by_some_arguments_those_count():
    huey = aquila.huey.MemoryHuey("unique")

    @huey.task(unique="id")
    def pay(id, note=""):
        return id

    with use_test_queue(huey):
        pay(1, note="first")
        pay(1, note="second")  # kept out
        pay(2)
        assert_unique(pay)
        assert len(all_enqueued(pay, 1)) == 1
        huey.storage.enqueue(huey.serialize_task(pay.s(2, note="around the check")))
        with pytest.raises(AssertionError, match="2 times"):
            assert_unique(pay)


def test_of_several_queues_the_name_says_which(huey, send):
    other = MemoryHuey("other")
    count = returning(other, 1, name="count")

    @other.periodic_task(crontab(minute="0"))
    def hourly():
        return "hour"

    with use_test_queue(other):
        send("eve")
        count()
        count()
        assert len(all_enqueued(queue=huey.name)) == 1
        assert len(all_enqueued(queue="other")) == len(all_enqueued()) == 2
        assert_enqueued(queue=huey.name)
        refute_enqueued(where=lambda task: task.args, queue="other")
        with pytest.raises(AssertionError, match="2 times"):
            assert_unique(queue="other")
        assert drain_queue(queue=huey.name) == {"complete": 1}
        assert run_periodic(dt.datetime(2026, 1, 1, 3), queue="other")[0].value == "hour"
        with pytest.raises(ConfigError, match="no Huey of the name 'mail' is under test"):
            all_enqueued(queue="mail")
        with pytest.raises(ConfigError, match=f"names another Huey than {huey.name!r}"):
            assert_enqueued(send, queue="other")
