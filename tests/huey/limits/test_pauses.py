"""Pauses that a provider asked one worker for are kept by all."""

import pytest

from aquila.engine.calls.request_gate import OutgoingRequest
from aquila.huey import Rescheduling, ask_task, set_limits
from aquila.huey.limits import provider_pauses, task_gate
from aquila.huey.limits.shared_limits import HeldCapacity
from aquila.huey.state import state_of
from aquila.huey.state.memory_tables import MemoryState
from aquila.huey.testing import drain_queue, perform_job
from tests.huey.limits.providers import Provider
from tests.huey.storages import Away, be_away


def limit(huey, text):
    set_limits(huey, text, counts_in_tests=True)


def test_a_pause_that_one_worker_is_asked_for_is_kept_by_all(huey):
    limit(huey, None)
    provider = Provider((503, {"retry-after": "30"}))
    task = ask_task(huey, "{x}", name="answer", transport=provider, max_retries=0)
    other = ask_task(huey, "{x}", name="other", transport=provider, model="another")
    assert perform_job(task, 1).state == "retry"
    run = perform_job(task, 2)
    assert provider.asked == 1
    assert run.state == "retry"
    assert "api.openai.com asked for a pause (api.openai.com answered 503: " in str(run.exception)
    assert 29 <= run.retry.delay <= 31
    assert perform_job(other, 1).state == "complete"
    for number in range(3):
        task(number)
    drained = drain_queue(with_scheduled=True)
    assert drained["complete"] == 5
    assert drained["retry"] == 3


def test_others_find_the_pause_when_the_slot_of_the_refused_request_is_free(huey, monkeypatch):
    limit(huey, "openai: 1 at once")
    task = ask_task(huey, "{x}", name="answer", transport=Provider((429, {"retry-after": "30"})), max_retries=0)
    settle, found = HeldCapacity.settle, []

    def settle_and_look(held, *numbers):
        settle(held, *numbers)
        found.append(state_of(huey).entries(provider_pauses.TABLE))

    monkeypatch.setattr(HeldCapacity, "settle", settle_and_look)
    assert perform_job(task, 1).state == "retry"
    assert [len(entries) for entries in found] == [1]


def test_a_pause_is_counted_from_when_a_test_has_put_its_clock_forward_to(huey):
    limit(huey, None)
    provider = Provider((429, {"retry-after": "30"}))
    task = ask_task(huey, "{x}", name="answer", transport=provider, max_retries=0)

    @huey.task()
    def ask_now(number):
        task(number)

    task.schedule((1,), delay=3600)
    task.schedule((2,), delay=3610)
    ask_now.schedule((3,), delay=3620)  # What it enqueues is due at no time of its own.
    task.schedule((4,), delay=3700)
    runs = drain_queue(with_time_skipping=True).runs
    first, second, third = (run.retry.delay for run in runs if run.state == "retry")
    assert 30 <= first < 34
    assert 10 < second <= 20
    assert 0 < third <= 10.25
    assert sorted(run.task.args for run in runs if run.state == "complete") == [(1,), (2,), (3,), (3,), (4,)]


def test_a_task_that_is_rescheduled_again_and_again_gives_up_by_the_clock_of_the_test(huey):
    huey.rescheduling = Rescheduling(within=3600)
    limit(huey, None)
    provider = Provider(*[(429, {"retry-after": "1000"})] * 10)
    ask_task(huey, "{x}", name="answer", transport=provider)(1)
    drained = drain_queue(with_time_skipping=True, raise_errors=False)
    assert drained == {"retry": 3, "error": 1}
    assert "and is to wait" in str(drained.runs[-1].exception)


def test_a_pause_lasts_no_longer_than_a_task_is_ever_to_wait(huey):
    huey.rescheduling = Rescheduling(longest_delay=900, within=4 * 3600)
    limit(huey, None)
    provider = Provider((429, {"retry-after": str(6 * 3600)}))
    task = ask_task(huey, "{x}", name="answer", transport=provider)
    for number in range(3):
        task(number)
    drained = drain_queue(with_scheduled=True)
    assert drained == {"retry": 3, "complete": 3}
    assert all(run.retry.delay < 1000 for run in drained.runs if run.state == "retry")


def test_a_pause_is_one_of_a_host_a_model_and_an_account():
    state = MemoryState()
    provider_pauses.note_pause(state, OutgoingRequest("", "api.openai.com", "m", "live", "mine", {}), 1000.0)
    found = [
        provider_pauses.find_pause(state, OutgoingRequest("", host, model, "live", account, {}))[0] > 0
        for host, model, account in [
            ("other", "m", "mine"),
            ("api.openai.com", "other", "mine"),
            ("api.openai.com", "m", "other"),
            ("api.openai.com", "m", "mine"),
        ]
    ]
    assert found == [False, False, False, True]


def test_what_a_provider_answered_is_told_without_secrets_and_bounded(huey):
    state, request = MemoryState(), OutgoingRequest("", "api.openai.com", "m", "live", "", {})
    key, secret = "sk-proj-" + "a1B2" * 12, "correct-horse-of-task"

    @huey.task()
    def refused(password):
        error = ValueError(f"busy {key} {password} " + "word " * 1000)
        provider_pauses.note_pause(state, request, 10.0, error=error)

    perform_job(refused, secret)
    _, answer = provider_pauses.find_pause(state, request)
    assert answer.startswith("busy")
    assert (key in answer, secret in answer, len(answer) < 600) == (False, False, True)


@pytest.mark.parametrize("data", [b"[1]", b"{}", b"1"])
def test_what_a_later_version_has_written_is_no_pause(data):
    state, request = MemoryState(), OutgoingRequest("", "api.openai.com", "m", "live", "", {})
    provider_pauses.note_pause(state, request, 10.0)
    (entry,) = state.entries(provider_pauses.TABLE)
    state.put(provider_pauses.TABLE, entry.key, data, order=entry.order)
    assert provider_pauses.find_pause(state, request)[0] == 0.0


def test_a_pause_ends_no_earlier_because_a_test_executes_a_task_before_its_time():
    state, request = MemoryState(), OutgoingRequest("", "api.openai.com", "m", "live", "", {})
    now = state.now()
    state.now = lambda: now
    provider_pauses.note_pause(state, request, 100.0)
    assert provider_pauses.find_pause(state, request, now + 90)[0] == 10.0
    assert provider_pauses.find_pause(state, request)[0] == 100.25
    assert provider_pauses.find_pause(state, request, now + 101)[0] == 0.0


def test_tasks_that_a_test_executes_before_their_time_come_back_when_it_is_their_turn(huey):
    limit(huey, "openai: 2/min")
    provider = Provider(*[(429, {"retry-after": "60"})] * 3)
    task = ask_task(huey, "{x}", name="answer", transport=provider, max_retries=0)
    for number in range(3):
        task(number)
    drained = drain_queue(with_scheduled=True)
    assert drained["complete"] == 3
    assert drained["retry"] < 30  # three refusals, and a few turns; it was more than 200


def test_requests_after_a_pause_do_not_wait_for_those_that_waited_for_its_end():
    state, clock = MemoryState(), [1000.0]
    state.now = lambda: clock[0]
    request = OutgoingRequest("", "api.openai.com", "m", "live", "", {})
    provider_pauses.note_pause(state, request, 10.0)
    delays = [provider_pauses.find_pause(state, request)[0] for _ in range(40)]
    assert delays == [10 + place * 0.25 for place in range(40)]
    clock[0] = 1010.0
    assert [provider_pauses.find_pause(state, request)[0] for _ in range(3)] == [0.0] * 3


@pytest.mark.parametrize("failing", ["clock", "table", "connection"])
def test_a_storage_that_is_away_fails_no_call_that_nobody_limits(huey, monkeypatch, caplog, failing):
    limit(huey, None)
    provider = Provider((429, {"retry-after": "30"}))
    task = ask_task(huey, "{x}", name="answer", transport=provider, max_retries=0)
    assert perform_job(task, 1).state == "retry"

    if failing == "connection":
        monkeypatch.setattr(task_gate.shared_state, "state_of", be_away)
    else:
        monkeypatch.setattr(state_of(huey), "now" if failing == "clock" else "get", be_away)
    assert perform_job(task, 1).state == "complete"
    assert "the storage does not say whether api.openai.com asked for a pause" in caplog.text
    limit(huey, "openai: 60/min")
    perform_job(task, 1, raises=Away)
