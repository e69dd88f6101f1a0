"""Limits that all workers of a queue obey."""

import threading
import uuid
from types import SimpleNamespace

import httpx2
import pytest

import aquila
from aquila import errors
from aquila.engine.calls.request_gate import OutgoingRequest
from aquila.huey import MemoryHuey, PostgresHuey, SqliteHuey, ask_task, instrument, limited, set_limits, within_limits
from aquila.huey.limits import limits_without_task, provider_pauses
from aquila.huey.limits.budgets import Reservation
from aquila.huey.limits.counting import AdmissionRequest, Counts, LimitTurn
from aquila.huey.limits.rules import parse_limits
from aquila.huey.limits.shared_limits import TABLE, acquire, counters_of
from aquila.huey.limits.task_gate import TaskGate, estimate_input
from aquila.huey.state import state_of
from aquila.huey.testing import drain_queue, perform_job, use_test_queue
from aquila.recording.network.model_hosts import PROVIDER_HOSTS
from tests.huey.programs import racing
from tests.huey.storages import SHARED, STORAGES, be_away
from tests.support.limit_counts import describe_counts
from tests.support.runs import separate_run
from tests.support.threads import run_at_once


def limit(huey, text, **options):
    set_limits(huey, text, counts_in_tests=True, **options)


def test_scheduled_tasks_of_a_test_are_held_to_a_limit_as_at_their_time(huey, provider):
    limit(huey, "openai: 1/min")
    task = ask_task(huey, "{x}", name="answer", transport=provider)
    for number in range(3):
        task.schedule((number,), delay=3600)
    drained = drain_queue(with_scheduled=True)
    assert drained["complete"] == 3
    assert drained["retry"] == 2  # Each of those after the first comes back for its turn, once.


def ask(huey, limits, name="", lease=60.0, *, has_turn=False):
    state, wanted = state_of(huey), AdmissionRequest(1, name or uuid.uuid4().hex, lease, has_turn)
    return acquire(state, counters_of(parse_limits(limits)), wanted, state.now())


def counted(huey, text):
    """What is counted of each rule of a provider."""
    rules = parse_limits(text)
    state = state_of(huey)
    return list(describe_counts(Counts.read(state.get(TABLE, rules[0].provider)), rules).values())


def test_a_task_whose_limit_is_reached_comes_back_when_its_turn_comes(huey, provider):
    limit(huey, "openai: 2/min")
    task = ask_task(huey, "{x}", name="answer", transport=provider)
    for number in range(5):
        task(number)
    drained = drain_queue(with_scheduled=True)
    assert drained["complete"] == 5
    assert 3 <= drained["retry"] <= 6
    assert provider.asked == 5
    refused = next(run for run in drained.runs if run.state == "retry")
    assert isinstance(refused.exception.__cause__, errors.LimitReached)
    assert refused.exception.__cause__.limit == "openai: 2/min"
    assert "the limit 'openai: 2/min' is reached: the turn of this request comes in" in str(refused.exception)
    assert 59 <= refused.retry.delay <= 62
    assert refused.retry.left == 3


def test_what_fails_while_limits_are_asked_leaves_nothing_counted(huey, fail_at_the_second_update):
    state, counters = state_of(huey), counters_of(parse_limits("anthropic: 5/min; openai: 5/min"))
    calls = fail_at_the_second_update(state)
    with pytest.raises(KeyboardInterrupt):
        acquire(state, counters, AdmissionRequest(1, "a request", 60.0), state.now())
    assert calls == ["anthropic", "openai", "anthropic"]
    [slices] = Counts.read(state.get(TABLE, "anthropic")).amounts.values()
    assert set(slices.values()) == {0}


def test_a_waiting_request_is_not_overtaken(huey, provider):
    limit(huey, "openai: 1/min")
    task = ask_task(huey, "{x}", name="answer", transport=provider)
    for number in range(3):
        task(number)
    drain_queue()  # one is answered, two are in the line
    task(3)
    drained = drain_queue(with_scheduled=True)
    assert [run.task.args for run in drained.runs if run.state == "complete"] == [(1,), (2,), (3,)]


def test_other_models_and_other_providers_are_not_held_back(huey, provider):
    limit(huey, "openai/gpt-5*: 1/min; anthropic: 1/min")
    for number in range(3):
        task = ask_task(huey, "{x}", name=f"answer{number}", transport=provider, model="small")
        perform_job(task, 1)
    large = ask_task(huey, "{x}", name="large", transport=provider, model="gpt-5-mini")
    assert perform_job(large, 1).state == "complete"
    assert perform_job(large, 1).state == "retry"


def test_a_task_may_have_limits_of_its_own(huey, provider):
    set_limits(huey, counts_in_tests=True)
    first = ask_task(huey, "{x}", name="first", transport=provider, limit="openai: 1/min")

    @huey.task(limit="openai: 1/min")
    def second():
        return aquila.ask("hi", transport=provider).text

    assert [perform_job(first, 1).state, perform_job(second).state] == ["complete", "complete"]
    assert [perform_job(first, 1).state, perform_job(second).state] == ["retry", "retry"]


@pytest.mark.parametrize("where", ["huey", "task", "prompt task", "set_limits"])
def test_a_mistake_is_refused_where_it_is_written(huey, where):
    with pytest.raises(errors.ConfigError, match=r"'60/mn' \(column 9\)"):
        if where == "huey":
            MemoryHuey("other", limit="openai: 60/mn")
        elif where == "task":
            huey.task(limit="openai: 60/mn")(lambda: None)
        elif where == "prompt task":
            ask_task(huey, "{x}", name="x", limit="openai: 60/mn")
        else:
            set_limits(huey, "openai: 60/mn")


def test_tests_and_replays_count_nothing_unless_they_are_asked_to(huey, provider, aquila_script):
    set_limits(huey, "openai: 1/min")
    task = ask_task(huey, "{x}", name="answer", transport=provider)
    assert [perform_job(task, 1).state for _ in range(3)] == ["complete"] * 3
    limit(huey, "openai: 1/min")
    aquila_script.reply("yes")
    scripted = ask_task(huey, "{x}", name="scripted", cassette="")
    assert [perform_job(scripted, 1).state for _ in range(2)] == ["complete", "retry"]


def test_tokens_are_estimated_and_then_counted(huey, provider):
    limit(huey, "openai: 100 tokens/min")
    task = ask_task(huey, "{x}", name="answer", transport=provider, max_output_tokens=70)
    assert perform_job(task, 1).state == "complete"
    assert counted(huey, "openai: 100 tokens/min") == [15]
    assert perform_job(task, 1).state == "complete"
    assert counted(huey, "openai: 100 tokens/min") == [30]
    assert perform_job(task, 1).state == "retry"  # 70 may come


def test_an_answer_that_reports_no_usage_counts_as_it_was_estimated(huey, provider):
    limit(huey, "openai: 1000 tokens/min")
    provider.reports_usage = False
    perform_job(ask_task(huey, "{x}", name="answer", transport=provider, max_output_tokens=70), 1)
    assert counted(huey, "openai: 1000 tokens/min") == [75]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "x" * 389}]}, 101),
        ({"input": "data:image/png;base64," + "A" * 100_000}, 1000),
        ({"input": "A" * 100_000}, 1000),
        ({"input": "word " * 20_000}, 25_000),
        ({"file": b"a sound"}, 1000),
        ({"model": "m" * 400, "metadata": {"about": "x" * 400}, "stream": True}, 1),
    ],
    ids=["text", "a picture", "a file as text", "long text", "a file", "what no model reads"],
)
def test_the_tokens_of_a_request_are_estimated_by_its_length_and_those_of_a_file_are_not(body, tokens):
    assert estimate_input(body) == tokens


def test_a_request_that_a_budget_refuses_counts_in_no_limit(huey, provider):
    limit(huey, "openai: 5/min, 1 at once", budget="1 token per day")
    perform_job(ask_task(huey, "{x}", name="answer", transport=provider), 1, raises=errors.BudgetExceeded)
    assert (provider.asked, counted(huey, "openai: 5/min, 1 at once")) == (0, [0, 0])


@pytest.mark.parametrize(
    ("transport", "is_counted"), [("live", True), ("record", True), ("replay", False), ("script", False)]
)
def test_in_production_a_request_that_asks_no_provider_is_not_counted(tmp_path, transport, is_counted):
    huey = MemoryHuey("app", limit="openai: 60/min")
    with separate_run(tmp_path):
        assert TaskGate(huey).counts(OutgoingRequest("", "api.openai.com", "m", transport, "", {})) is is_counted


@pytest.mark.parametrize("ending", ["answer", "refusal", "left", "async"])
def test_a_slot_is_free_however_the_request_ends(huey, provider, ending):
    limit(huey, "openai: 1 at once, 1000/min")
    if ending == "refusal":
        provider.refusals = [(400, {})]

    @huey.task()
    def sync():
        if ending == "left":
            with aquila.stream("hi", transport=provider) as stream:
                next(iter(stream))
            return
        aquila.ask("hi", transport=provider)

    @huey.task()
    async def asynchronous():
        await aquila.aask("hi", transport=provider)

    seen = []
    provider.while_answering = lambda: seen.append(counted(huey, "openai: 1 at once"))
    run = perform_job(asynchronous if ending == "async" else sync, raises=errors.BadRequest) if (
        ending == "refusal"
    ) else perform_job(asynchronous if ending == "async" else sync)  # fmt: skip
    assert run.state == ("error" if ending == "refusal" else "complete")
    assert seen == [[1]]
    assert counted(huey, "openai: 1 at once") == [0]


@pytest.mark.parametrize("kind", STORAGES)
def test_of_threads_that_race_as_many_are_let_in_as_may_be(make_aquila_huey, kind):
    huey = make_aquila_huey(kind)
    limits = "openai: 7/h; openai/gpt*: 3 at once"
    outcomes, start = [], threading.Barrier(6)

    def race():
        start.wait()
        for _ in range(4):
            outcomes.append(ask(huey, limits))

    run_at_once([race] * 6)
    held = [one for one in outcomes if not isinstance(one, LimitTurn)]
    assert len(held) == 3
    assert counted(huey, "openai: 7/h") == [3]  # who was refused by one limit is counted by none
    for one in held:
        one.settle(None, None)
    assert sum(not isinstance(ask(huey, limits), LimitTurn) for _ in range(9)) <= 4


RACER = """
import os, sys
from aquila.huey import {kind}
from aquila.huey.limits.counting import AdmissionRequest, LimitTurn
from aquila.huey.limits.rules import parse_limits
from aquila.huey.limits.shared_limits import acquire, counters_of
from aquila.huey.state import state_of
state = state_of({kind}("raced", {place}))
counters = counters_of(parse_limits({limits!r}))
print("ready", flush=True)
sys.stdin.readline()
let_in = 0
for number in range(30):
    found = acquire(state, counters, AdmissionRequest(1, f"{{os.getpid()}} {{number}}", {lease}), state.now())
    let_in += not isinstance(found, LimitTurn)
print(let_in, flush=True)
sys.stdin.readline()
"""


def code_of_racer(huey, limits, dsn):
    match huey:
        case SqliteHuey():
            place = f"filename={huey.storage.filename!r}"
        case PostgresHuey():
            place = f"dsn={dsn!r}"
        case _:
            connection = huey.storage.conn.connection_pool.connection_kwargs
            place = f"url={'unix://' + connection['path']!r}"
    return RACER.format(kind=type(huey).__name__, place=place, limits=limits, lease=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARED)
def test_processes_share_a_limit_and_a_killed_one_gives_its_slots_back(make_aquila_huey, kind, request):
    huey = make_aquila_huey(kind)
    huey.storage.name = "raced"
    limits = "openai: 40/h, 5 at once"
    dsn = request.getfixturevalue("postgres_dsn") if kind == "postgres" else None
    with racing(3, "-c", code_of_racer(huey, limits, dsn)) as racers:
        assert sum(int(racer.stdout.readline()) for racer in racers) == 5
        assert isinstance(ask(huey, limits), LimitTurn)
    ended = threading.Event()
    for _ in range(400):
        if not isinstance(ask(huey, limits, "mine", 2, has_turn=True), LimitTurn):
            break
        ended.wait(0.05)
    else:
        pytest.fail("the slots of the killed processes are not free again")


def test_the_slot_of_a_long_request_is_renewed():
    huey = MemoryHuey("app")
    state, renewed = state_of(huey), threading.Event()
    update, times = state.update, []

    def noting(*args, **options):
        value = update(*args, **options)
        times.append(max(each for lease in Counts.read(value).leases.values() for each in lease.values()))
        if len(times) > 3:
            renewed.set()
        return value

    state.update = noting
    held = ask(huey, "openai: 1 at once", lease=0.3)
    held.begin()
    assert renewed.wait(60)
    del state.update
    held.settle(None, None)
    assert times[1] < times[2] < times[3]
    assert counted(huey, "openai: 1 at once") == [0]


def test_outside_of_tasks_a_call_waits_or_fails(provider):
    huey = MemoryHuey("app")
    limit(huey, "openai: 2/s")
    with within_limits(huey):
        for _ in range(3):
            aquila.ask("hi", transport=provider)
    limit(huey, "openai: 1/h")
    with within_limits(huey, wait=0.5):
        aquila.ask("hi", transport=provider)
        with pytest.raises(errors.LimitReached) as caught:
            aquila.ask("hi", transport=provider)
    assert caught.value.retry_after > 3000
    aquila.ask("hi", transport=provider)  # outside of the block nothing is counted
    assert provider.asked == 5
    with pytest.raises(errors.ConfigError, match="wait= is a number of seconds"), within_limits(huey, wait="long"):
        pass


def test_a_limit_that_refuses_a_retry_says_what_the_provider_has_answered(provider):
    huey = MemoryHuey("app")
    limit(huey, "openai: 1/h")
    provider.refusals = [(503, {"retry-after-ms": "1"})]
    with within_limits(huey, wait=0.5), pytest.raises(errors.LimitReached) as caught:
        aquila.ask("hi", transport=provider)
    assert "is reached: " in str(caught.value)
    assert "It is the retry after: api.openai.com answered 503: too much" in str(caught.value)
    assert isinstance(caught.value.__cause__, errors.ProviderUnavailable)
    assert caught.value.retry_after > 3000


def test_calls_that_go_away_take_no_turn(provider):
    huey, clock = MemoryHuey("app"), [2e9]
    limit(huey, "openai: 1/h")
    state_of(huey).now = lambda: clock[0]
    with within_limits(huey, wait=0.5):
        aquila.ask("hi", transport=provider)
        for _ in range(5):
            with pytest.raises(errors.LimitReached):
                aquila.ask("hi", transport=provider)
        clock[0] += 3661.25
        aquila.ask("hi", transport=provider)


def test_requests_of_other_clients_can_be_counted(huey):
    limit(huey, "openai: 100 tokens/min, 1 at once")

    @huey.task()
    def other_client(tokens):
        with limited(huey, "openai", "gpt-5", prompt="hi", tokens=60) as request:
            request.spent(input_tokens=tokens)
            assert counted(huey, "openai: 1 at once") == [1]

    assert perform_job(other_client, 30).state == "complete"
    assert counted(huey, "openai: 100 tokens/min") == [30]
    assert counted(huey, "openai: 1 at once") == [0]
    assert perform_job(other_client, 50).state == "complete"
    assert perform_job(other_client, 1).state == "retry"
    with pytest.raises(errors.LimitReached), limited(huey, "api.openai.com", tokens=60, wait=False):
        pass
    limit(huey, "openai: 1 at once")
    with pytest.raises(ValueError, match="it fails"), limited(huey, "openai"):
        raise ValueError("it fails")
    assert counted(huey, "openai: 1 at once") == [0]
    with pytest.raises(errors.ConfigError, match="no provider 'opnai' is known"), limited(huey, "opnai"):
        pass


def test_a_refusal_that_another_client_raises_takes_no_tokens_and_begins_a_pause(huey):
    limit(huey, "openai: 1k tokens/min")
    request = httpx2.Request("POST", "https://api.openai.com/v1/chat/completions")
    refused = httpx2.Response(429, headers={"Retry-After": "30"}, request=request)
    for error, tokens, pauses in [
        (httpx2.ReadTimeout("too slow", request=request), 61, 0),  # it may have taken them
        (httpx2.HTTPStatusError("429", request=request, response=refused), 61, 1),
    ]:
        with pytest.raises(httpx2.HTTPError), limited(huey, "openai", prompt="hi", tokens=60):
            raise error
        assert counted(huey, "openai: 1k tokens/min") == [tokens]
        assert len(state_of(huey).entries(provider_pauses.TABLE)) == pauses


def test_a_request_of_another_client_that_waits_several_times_waits_no_longer_than_it_may():
    answers, asked = [0.001, 0.002, "let in"], []
    gate = SimpleNamespace(admit=lambda request, waited: asked.append(waited) or answers.pop(0))
    assert limits_without_task._wait_for(gate, None) == "let in"
    assert asked == [0, 0.001, 0.003]


def test_of_other_clients_every_provider_can_be_counted_by_its_name_its_host_or_a_url():
    huey = MemoryHuey("app")
    names = [*PROVIDER_HOSTS, "llm.example.com", "*.example.com", "*"]
    urls = [
        ("openai", "https://key@api.openai.com/v1/chat/completions"),
        ("localhost:8000", "http://localhost:8000/v1"),
    ]
    for name, given in [*zip(names, names, strict=True), *urls]:
        limit(huey, f"{name}: 1 at once")
        with limited(huey, given, wait=False):
            assert counted(huey, f"{name}: 1 at once") == [1], given


@pytest.mark.parametrize(
    ("limits", "budget", "operations"),
    [(None, None, 1), ("openai: 60/min", None, 7), ("openai: 60/min", "9k tokens per day", 12)],
)
def test_a_request_costs_as_many_operations_as_the_docs_say(monkeypatch, limits, budget, operations):
    huey, made = MemoryHuey("app"), []
    limit(huey, limits, budget=budget)
    state = state_of(huey)

    def note(name):
        method = getattr(state, name)
        monkeypatch.setattr(state, name, lambda *args, **options: made.append(name) or method(*args, **options))

    with limited(huey, "openai") as request:
        request.spent(input_tokens=9)
    for name in ("now", "get", "replace", "delete_below"):
        note(name)
    with limited(huey, "openai") as request:
        request.spent(input_tokens=9)
    assert len(made) == operations


def test_a_plain_huey_is_refused_and_an_instrumented_one_is_limited(provider):
    import huey as plain

    from aquila.huey import MsgpackSerializer

    queue = plain.MemoryHuey("plain", serializer=MsgpackSerializer())
    with pytest.raises(errors.ConfigError, match="instrument"):
        set_limits(queue, "openai: 1/min")
    instrument(queue)
    limit(queue, "openai: 1/min")
    with use_test_queue(queue):
        task = ask_task(queue, "{x}", name="answer", transport=provider)
        assert [perform_job(task, 1).state for _ in range(2)] == ["complete", "retry"]


def test_a_storage_that_is_away_when_an_answer_has_come_does_not_lose_it(huey, provider, caplog):
    limit(huey, "openai: 1 at once")
    state = state_of(huey)

    def go_away():
        state.update = be_away

    provider.while_answering = go_away
    task = ask_task(huey, "{x}", name="answer", transport=provider)
    assert perform_job(task, 1).value["text"] == "yes"
    del state.update
    assert "could not be counted" in caplog.text


def test_a_slot_is_free_again_although_what_was_spent_could_not_be_counted(huey, monkeypatch, caplog):
    limit(huey, "openai: 1 at once", budget="1000 tokens per day")

    with monkeypatch.context() as patch:
        patch.setattr(Reservation, "settle", be_away)
        with limited(huey, "openai") as request:
            request.spent(input_tokens=9)
    assert "could not be counted" in caplog.text
    with limited(huey, "openai", wait=False):
        pass
    for thread in threading.enumerate():
        if thread.name == "aquila-limits":
            thread.join(60)
            assert not thread.is_alive()
