"""A task that fails with an exception of a peculiar class has failed like any other."""

import asyncio
import sys

import greenlet
import pytest
from huey.exceptions import TaskException
from huey.serializer import Serializer

from aquila.errors import RemoteTaskError, TaskError
from aquila.huey import MemoryHuey, Rescheduling, dead_letters
from aquila.huey.error_texts import shorten_text, text_of
from aquila.huey.live import publish_jobs, subscribe
from aquila.huey.live.redacting import describe_arguments, redact_arguments
from aquila.huey.tasks.task_code import replace_error
from aquila.huey.testing import build_task, perform_job
from tests.huey.sample_tasks import execute_all


class Outcome(BaseException):
    """What a ``__str__`` may raise, as pytest's own do."""


class Silent(Exception):
    def __str__(self):
        raise ValueError

    __repr__ = __str__


class Numeric(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 -- what this is about

    __repr__ = __str__


class Loud(Exception):
    def __str__(self):
        raise Outcome

    __repr__ = __str__


class Text(str):
    def encode(self, *arguments):
        raise ValueError

    __getitem__ = __format__ = split = encode


class Worded(Exception):
    def __str__(self):
        return Text("worded")

    __repr__ = __str__


class Unwritable:
    def __repr__(self):
        raise ValueError


class Busy(Exception):
    @property
    def response(self):
        raise ValueError


ODD = {
    "raises": Silent,
    "is no text": Numeric,
    "raises what is no Exception": Loud,
    "is a text of its own class": Worded,
    "has an argument that cannot be written": lambda: ValueError(Unwritable()),
    "is in a group": lambda: ExceptionGroup("several", [Silent(), Loud()]),
    "is endless": lambda: ValueError("word " * 100_000),
    "has a response that cannot be read": Busy,
}


@pytest.fixture
def huey():
    huey = MemoryHuey("jobs", rescheduling=Rescheduling())
    publish_jobs(huey)
    return huey


@pytest.mark.parametrize("error", ODD.values(), ids=ODD)
def test_a_task_whose_error_cannot_be_written_is_retried_and_told_of_and_kept(error, huey):
    handled = []

    @huey.task(retries=1)
    def job():
        raise error()

    @huey.task()
    def handle(failure):
        handled.append(failure)

    result = huey.enqueue(job.s().error(handle))
    execute_all(huey)
    huey.publisher.store.flush()
    assert [event.kind for event in subscribe(huey, result, timeout=60)] == [
        "queued", "started", "retry", "started", "failed",
    ]  # fmt: skip
    assert len(handled) == 2
    (letter,) = dead_letters(huey)
    kind = type(error()).__name__
    assert (letter.id, letter.kind) == (result.id, "failed")
    assert letter.reason.startswith(kind)
    assert "raise error()" in letter.details
    with pytest.raises(TaskException) as caught:
        result.get()
    stored = caught.value.metadata
    assert len(stored["error"]) < 25_000
    assert len(stored["traceback"]) < 250_000
    assert kind in stored["error"] or stored["error"] == "worded"


def test_arguments_that_cannot_be_written_are_published_as_such(huey):
    @huey.task()
    def job(value):
        """Do nothing."""

    assert describe_arguments(build_task(job, Loud())) == "<arguments that cannot be shown>"


def test_a_long_word_among_the_arguments_holds_nobody_up(huey):
    @huey.task()
    def job(picture, text):
        """Do nothing."""

    task = build_task(job, b"a" * 1_000_000, "password=" + "b" * 1_000_000)
    assert len(redact_arguments(describe_arguments(task))) < 20_000


def test_an_error_without_text_is_its_class():
    assert text_of(ValueError()) == "ValueError"
    assert text_of(ValueError("no")) == "ValueError: no"


def test_a_process_that_ends_while_an_error_is_written_ends():
    class Ending(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text_of(Ending())


def test_a_long_text_is_cut_in_its_middle():
    assert shorten_text("aa bb cc dd", 8) == "aa  … (5 characters left out) …  dd"


def test_an_exception_that_is_sent_keeps_its_class_where_its_text_is_cut(huey):
    read = huey.serializer.deserialize(huey.serializer.serialize(ValueError("a" * 500_000)))
    assert type(read) is ValueError
    assert len(str(read)) < 250_000
    assert type(huey.serializer.deserialize(huey.serializer.serialize(Loud()))) is RemoteTaskError


class Unpicklable(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.connection = lambda: None


class NeedsResponse(Exception):
    """As those of ``openai``: it can be pickled, but not made from what the pickle holds."""

    def __init__(self, text, *, response):
        super().__init__(text)


@pytest.mark.parametrize("error", [Unpicklable("gone"), NeedsResponse("gone", response=404)], ids=repr)
def test_a_handler_gets_an_error_that_comes_through_no_pickle_as_a_remote_one(error):
    huey = MemoryHuey("jobs", serializer=Serializer())
    handled = []

    @huey.task(retries=1)
    def fail():
        raise error

    @huey.task()
    def handle(error):
        handled.append((type(error), str(error)))

    task = fail.s().error(handle)
    huey.enqueue(task)
    while (taken := huey.dequeue()) is not None:
        huey.execute(taken)
    assert handled == [(RemoteTaskError, f"{__name__}.{type(error).__name__}: gone")] * 2  # For each attempt.
    assert [letter.reason for letter in dead_letters(huey)] == [f"{type(error).__name__}: gone"]
    with pytest.raises(TaskException, match=type(error).__name__):
        huey.result(task.id)


async def await_what_was_cancelled():
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    await waiting


def leave():
    sys.exit("no such file")


def panic():
    raise Outcome(
        "the code in Rust has panicked"
    )  # PyO3's `PanicException` is no `Exception`, nor is gevent's `Timeout`.


async def panic_in_a_group():
    raise BaseExceptionGroup("two", [Outcome("the code in Rust has panicked"), ValueError()])


LEAVES = [
    (leave, r"sys\.exit\('no such file'\)"),
    (await_what_was_cancelled, "something that was cancelled"),
    (panic, "no Exception: Outcome: the code in Rust has panicked"),
    (panic_in_a_group, "no Exception: BaseExceptionGroup: two"),
]


@pytest.mark.parametrize(("function", "reason"), LEAVES, ids=["exit", "cancelled", "panic", "group"])
@pytest.mark.parametrize("timeout", [None, 60])
def test_a_task_that_leaves_its_worker_has_failed_and_is_retried(function, reason, timeout):
    huey = MemoryHuey("odd")
    job = huey.task(retries=1, timeout=timeout)(function)
    result = job()
    for _ in range(2):
        huey.execute(huey.dequeue())  # In a worker, what comes out of it would be the end of the worker.
    with pytest.raises(TaskException, match=reason):
        result.get()
    assert [letter.kind for letter in dead_letters(huey)] == ["failed"]
    assert perform_job(job, raises=TaskError).retry.left == 0


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), greenlet.GreenletExit(), pytest.fail.Exception("the test")])
@pytest.mark.parametrize("in_group", [False, True])
def test_what_interrupts_the_worker_or_the_test_is_no_failure_of_the_task(interrupt, in_group):
    huey = MemoryHuey("odd")
    error = BaseExceptionGroup("one", [interrupt]) if in_group else interrupt

    @huey.task()
    def job():
        raise error

    replace_error(huey, job.s(), error)  # raises nothing in its place
    if not isinstance(error, KeyboardInterrupt):  # Huey itself takes that for an interrupted task.
        with pytest.raises(type(error)):
            perform_job(job)


def test_a_message_with_a_single_argument_that_is_no_tuple_is_made():
    # Huey's own tests schedule tasks so, with a number in the place of the tuple of arguments.
    huey = MemoryHuey("odd", results=False)

    @huey.task()
    def wait(seconds):
        pass

    wait.schedule(3, delay=60)
    assert [task.args for task in huey.pending()] == [3]
