"""A task whose provider asks it to come back later leaves its worker until then."""

import asyncio
import time
from email.utils import formatdate

import httpx
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aquila
from aquila import errors
from aquila.huey import MemoryHuey, Rescheduling, TaskRescheduled, ask_task, current_task, dead_letters, once
from aquila.huey.limits.rescheduling import delay_until_return, read_waits
from aquila.huey.telemetry.queue_time import note_enqueue_times
from aquila.huey.testing import build_task, drain_queue, perform_job
from tests.huey.limits.providers import Provider
from tests.support.runs import name_upstream


def asking(huey, provider, **settings):
    @huey.task(**settings)
    def answer():
        return aquila.ask("hi", transport=provider, max_retries=0).text

    return answer


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize(
    ("headers", "shortest", "longest"),
    [
        ({"retry-after": "60"}, 60, 66),
        ({"retry-after-ms": "30000", "retry-after": "60"}, 30, 33),
        ({"retry-after": formatdate(1090, usegmt=True), "date": formatdate(1000, usegmt=True)}, 90, 99),
        ({"retry-after": "864000"}, 3600, 3960),
        ({"retry-after": "0"}, 0, 0.1),
    ],
)
def test_the_task_comes_back_when_the_provider_says(huey, status, headers, shortest, longest):
    run = perform_job(asking(huey, Provider((status, headers)), retries=2))
    assert isinstance(run.exception, TaskRescheduled)
    assert isinstance(run.exception.__cause__, errors.ProviderError)
    assert (run.state, run.retry.left, run.signals) == ("retry", 2, ("executing", "retrying", "scheduled"))
    assert shortest <= run.retry.delay <= longest
    assert run.exception.seconds == run.retry.delay
    assert huey.result_count() == 0


def test_tasks_that_were_refused_together_come_back_one_by_one_unless_there_is_no_jitter(huey):
    task = asking(huey, Provider(*[(429, {"retry-after": "60"})] * 10))
    delays = [perform_job(task).retry.delay for _ in range(5)]
    assert len(set(delays)) > 1
    assert all(60 <= delay <= 66 for delay in delays)
    huey.rescheduling = Rescheduling(jitter=0)
    assert [perform_job(task).retry.delay for _ in range(5)] == [60] * 5


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {}), (500, {"retry-after": "60"}), (429, {"retry-after": "soon"})]
)
def test_an_error_without_a_delay_is_an_ordinary_failure(huey, status, headers):
    run = perform_job(asking(huey, Provider((status, headers)), retries=1), raises=errors.ProviderError)
    assert (run.state, run.retry.left) == ("error", 0)


def test_a_short_wait_is_waited_in_the_worker(huey):
    provider = Provider(*[(429, {"retry-after-ms": "2"})] * 2)

    @huey.task()
    def answer():
        reply = aquila.ask("hi", transport=provider)
        return reply.meta["retries"]

    assert perform_job(answer).value == 2


def test_a_longer_wait_is_not_waited_in_the_worker_whatever_the_retries_of_the_call(huey):
    provider = Provider((429, {"retry-after": "6"}))

    @huey.task()
    def answer():
        return aquila.ask("hi", transport=provider, max_retries=5).text

    answer()
    drained = drain_queue(with_scheduled=True)
    assert drained == {"retry": 1, "complete": 1}
    assert drained.runs[1].value == "yes"


def test_it_costs_no_retry_and_keeps_what_the_task_has_kept(huey):
    provider, outlines, seen = Provider(*[(429, {"retry-after": "30"})] * 7), [], []

    @huey.task(retries=1)
    def report():
        current = current_task()
        seen.append((current.attempt, current.waits, current.retries_left))
        once("outline", lambda: outlines.append(1) or "an outline")
        return aquila.ask("hi", transport=provider).text

    report()
    assert drain_queue(with_scheduled=True) == {"retry": 7, "complete": 1}
    assert seen == [(number + 1, number, 1) for number in range(8)]
    assert outlines == [1]
    assert huey.result_count() == 1  # the result, and no checkpoints


@pytest.mark.parametrize("bounds", [{"most": 3}, {"within": 100}])
def test_it_does_not_go_on_for_ever(huey, bounds):
    note_enqueue_times(huey)  # So every message has fields, also one that begins anew.
    huey.rescheduling = Rescheduling(**bounds)
    task = asking(huey, Provider(*[(429, {"retry-after": "40"})] * 9), retries=5)
    built = build_task(task)
    built._aquila_waits = (0, time.time() - (70 if "within" in bounds else 0), False)
    built._aquila_attempt = 2  # as a task has that waited before
    huey.enqueue(built)
    drained = drain_queue(with_scheduled=True, raise_errors=False)
    assert (drained.get("retry", 0), drained["error"]) == (bounds.get("most", 0), 1)
    run = drained.runs[-1]
    assert run.retry is None
    assert isinstance(run.exception, errors.WaitedTooLong)
    name, value = next(iter(bounds.items()))
    assert f"Rescheduling({name}={value})" in str(run.exception)
    assert "too much" in str(run.exception)
    dead_letters(huey).retry(run.task.id)  # By hand: it may wait as long again.
    assert drain_queue(with_scheduled=True, raise_errors=False)["retry"] >= 2


def test_waiting_for_a_turn_does_not_count_among_what_the_provider_asked_for(huey):
    huey.rescheduling = Rescheduling(most=1, longest_delay=20)

    @huey.task()
    def answer():
        current = current_task()
        if current.attempt in (1, 2, 4):
            raise errors.LimitReached("full", limit="openai: 1 at once", retry_after=30)
        raise errors.RateLimited("busy", status=429, retry_after=30)

    answer()
    drained = drain_queue(with_scheduled=True, raise_errors=False)
    assert drained == {"retry": 4, "error": 1}
    assert isinstance(drained.runs[-1].exception, errors.WaitedTooLong)
    waited = [run.exception.seconds for run in drained.runs[:-1]]
    assert 20 < waited.pop(2) < 23
    assert waited == [30, 30, 30]  # neither shortened nor spread: turns are apart already


def test_a_task_that_deals_with_it_itself_is_not_rescheduled(huey):
    provider = Provider((429, {"retry-after": "60"}))

    @huey.task()
    def answer():
        try:
            return aquila.ask("hi", transport=provider).text
        except errors.RateLimited as error:
            return error.retry_after

    assert perform_job(answer).value == 60


def test_a_prompt_task_is_rescheduled_too(huey):
    task = ask_task(huey, "{x}", name="prompted", transport=Provider((429, {"retry-after": "60"})))
    run = perform_job(task, 1)
    assert (run.state, run.retry.left) == ("retry", 3)


def test_of_several_errors_the_longest_delay_counts_if_all_name_one():
    busy, busier = (errors.RateLimited("busy", status=429, retry_after=delay) for delay in (60, 80))
    assert delay_until_return(ExceptionGroup("both", [busy, busier, busy])) == 80
    assert delay_until_return(ExceptionGroup("both", [busy, ValueError()])) is None


def test_an_async_task_whose_calls_are_refused_together_is_rescheduled(huey):
    provider = Provider((429, {"retry-after": "60"}), (429, {"retry-after": "80"}))

    @huey.task()
    async def answer():
        async with asyncio.TaskGroup() as group:
            for prompt in "ab":
                group.create_task(aquila.aask(prompt, transport=provider))

    # Which of the two calls ends the other is open.
    assert perform_job(answer).retry.delay >= 60


@pytest.mark.parametrize("how", ["off", "immediate"])
def test_without_rescheduling_it_is_an_error_as_any_other(how):
    huey = MemoryHuey("app", immediate=how == "immediate", rescheduling=None if how == "off" else Rescheduling())
    seen = []

    @huey.task()
    def answer():
        try:
            aquila.ask("hi", transport=Provider((429, {"retry-after": "0.2"})), max_retries=0)
        except errors.RateLimited as error:
            seen.append(error.retry_after)
            raise

    result = answer()
    if how == "off":
        huey.execute(huey.dequeue())
    assert huey.scheduled_count() == huey.pending_count() == 0
    assert seen == [0.2]
    with pytest.raises(Exception, match="RateLimited"):
        result.get()


def openai_error():
    client = openai.OpenAI(
        api_key="-", max_retries=0, http_client=httpx2.Client(transport=Provider((429, {"retry-after": "60"})))
    )
    client.chat.completions.create(model="m", messages=[])


def httpx_error():
    request = httpx.Request("GET", "http://model.test")
    httpx.Response(529, headers={"Retry-After": "60"}, request=request).raise_for_status()


class ClientError(Exception):
    """As botocore has it."""

    response = {"ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "60"}}, "Error": {}}


def botocore_error():
    raise ClientError


@pytest.mark.parametrize("failing", [openai_error, httpx_error, botocore_error])
def test_errors_of_other_clients_are_understood(huey, failing):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each client has its own
        failing()
    assert delay_until_return(caught.value) == 60

    @huey.task()
    def work():
        failing()

    if failing is not openai_error:
        assert perform_job(work).retry.delay >= 60


@pytest.mark.parametrize("error", [ValueError("no"), ClientError, ExceptionGroup("both", [ValueError()])])
def test_other_errors_name_no_delay(error):
    if error is ClientError:
        error = ClientError()
        error.response = {"Error": {}}
    assert delay_until_return(error) is None


class OddError(Exception):
    def __init__(self, response):
        self.response = response


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.dictionaries(
            st.sampled_from(["ResponseMetadata", "HTTPStatusCode", "HTTPHeaders", "retry-after", "x"]), inner
        ),
        max_leaves=6,
    )
)
def test_reading_the_delay_of_any_error_raises_nothing(response):
    found = delay_until_return(OddError(response))
    assert found is None or found >= 0, found


@pytest.mark.parametrize("options", [{"most": -1}, {"most": 1.5}, {"within": float("inf")}, {"jitter": "much"}])
def test_a_mistake_in_the_options_is_named(options):
    with pytest.raises(errors.ConfigError, match=rf"Rescheduling\({next(iter(options))}="):
        Rescheduling(**options)


@pytest.mark.parametrize(
    "found", [[1], [1, 2, True], [1, 1.0], [-1, 1.0, True], [1, float("nan"), True], {"n": 1}, True]
)
def test_a_forged_count_is_refused(huey, found):
    task = asking(huey, Provider())
    built = build_task(task)
    assert not read_waits(built, found)
    built._aquila_waits = (1, time.time(), True)
    built._aquila_attempt = 2
    assert huey.deserialize_task(huey.serialize_task(built))._aquila_waits == built._aquila_waits


def test_a_replay_reschedules_as_the_recording_did(root, huey, monkeypatch):
    provider = Provider((429, {"retry-after": "60"}))

    @huey.task()
    def answer():
        return aquila.ask("hi", model="m").text

    def work():
        answer()
        return drain_queue(with_scheduled=True)

    name_upstream("busy", provider)
    monkeypatch.setenv("AQUILA_UPSTREAM", "busy")
    with aquila.use_cassette("busy", transport="record"):
        recorded = work()
    assert recorded == {"retry": 1, "complete": 1}
    with aquila.use_cassette("busy", transport="replay") as cassette:
        replayed = work()
        assert cassette.all_played
    assert replayed == recorded
    assert replayed.runs[0].retry.delay >= 60
    assert provider.asked == 2


@pytest.mark.parametrize(("delay", "state"), [(60, "retry"), (None, "error")])
def test_a_scripted_refusal_reschedules_if_it_names_a_delay(huey, aquila_script, delay, state):
    """Not for the millisecond that a script adds to a failure which another answer follows."""
    aquila_script.error(503, retry_after=delay)
    aquila_script.reply("hello")

    @huey.task(retries=1)
    def answer():
        return aquila.ask("hi", max_retries=0).text

    answer()
    drained = drain_queue(with_scheduled=True)
    assert [run.state for run in drained.runs] == [state, "complete"]
    assert drained.runs[1].value == "hello"


@pytest.mark.parametrize("given", [False, 300], ids=str)
def test_what_is_no_rescheduling_is_refused_where_the_huey_is_made(given):
    with pytest.raises(errors.ConfigError, match=f"is a Rescheduling, or None to switch it off, not {given}"):
        MemoryHuey("app", rescheduling=given)
