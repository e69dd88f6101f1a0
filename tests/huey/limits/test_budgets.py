"""Budgets: what would go beyond one is refused before it is sent."""

import datetime
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aquila
from aquila import errors
from aquila.events import Usage
from aquila.huey import MemoryHuey, ask_task, set_limits, within_limits
from aquila.huey.limits import budgets
from aquila.huey.limits.budgets import EXAMPLE, TABLE, Cap, _read, parse_budget, reserve_amounts
from aquila.huey.state import SharedState, state_of
from aquila.huey.testing import build_task, drain_queue, perform_job
from aquila.prices import Price, PriceTable
from tests.huey.storages import STORAGES
from tests.support.threads import run_at_once

NOON = datetime.datetime(2026, 11, 26, 12, 30, tzinfo=datetime.UTC).timestamp()
DAY = datetime.date(2026, 11, 1)
PRICES = PriceTable([Price(model="priced", input=1000, output=2000, as_of=DAY, source="a test")])


def spent_of(state: SharedState, caps: Iterable[Cap], now: float) -> dict[str, str]:
    """Return what is spent of each cap that is not a single task's, as people read it."""
    found = {}
    for cap in caps:
        key = cap.key_for(None, now)
        if key is not None:
            found[cap.text] = cap.show(_read(state.get(TABLE, key)).get(cap.unit, 0))
    return found


def budget(huey, text, **options):
    set_limits(huey, budget=text, counts_in_tests=True, **options)


def asking(huey, provider, **options):
    return ask_task(huey, "{x}", transport=provider, **{"name": "answer", **options})


def test_what_fails_while_budgets_are_asked_leaves_nothing_reserved(huey, fail_at_the_second_update):
    state, caps = state_of(huey), parse_budget("100 tokens per day, 100 tokens per queue")
    fail_at_the_second_update(state)
    with pytest.raises(KeyboardInterrupt):
        reserve_amounts(state, caps, None, Usage(input_tokens=40), task_id=None, now=NOON)
    assert set(spent_of(state, caps, NOON).values()) == {"0 tokens"}


def test_a_request_that_a_budget_has_no_room_for_is_not_sent(huey, provider):
    budget(huey, "40 tokens per day")
    task = asking(huey, provider, max_output_tokens=10, retries=3)
    for _ in range(2):
        assert perform_job(task, 1).state == "complete"  # 15 tokens each
    run = perform_job(task, 1, raises=errors.BudgetExceeded)
    assert provider.asked == 2
    assert run.retry is None
    error = run.exception
    assert "the budget '40 tokens per day' has no room for this request, which was not sent: 30 tokens are" in str(
        error
    )
    assert "It is reset at" in str(error)
    assert (error.budget, error.spent) == ("40 tokens per day", 30)
    assert error.resets_at > datetime.datetime.now(datetime.UTC)


def test_a_plain_task_is_not_retried_either(huey, provider):
    budget(huey, "1 token per queue")

    @huey.task(retries=5)
    def answer():
        aquila.ask("hello, hello", transport=provider)

    answer()
    assert drain_queue(with_scheduled=True, raise_errors=False) == {"error": 1}


def test_the_retries_of_a_task_share_its_budget_and_other_tasks_have_their_own(huey, provider):
    budget(huey, "16 tokens per task")
    task = asking(huey, provider)
    built = build_task(task, 1)
    assert perform_job(built).state == "complete"
    with pytest.raises(errors.BudgetExceeded, match="its retries count, too"):
        perform_job(built)
    assert perform_job(task, 1).state == "complete"


def test_a_task_may_have_a_budget_of_its_own(huey, provider):
    set_limits(huey, counts_in_tests=True)
    first, second = (asking(huey, provider, name=name, budget="16 tokens per queue") for name in ("first", "second"))
    assert [perform_job(each, 1).state for each in (first, second)] == ["complete", "complete"]
    with pytest.raises(errors.BudgetExceeded, match="the budget '16 tokens per queue' of first has no room"):
        perform_job(first, 1)


def test_money_is_counted_by_the_table_of_prices(huey, provider):
    budget(huey, "$0.05 per day", prices=PRICES)
    task = asking(huey, provider, model="priced")
    assert [perform_job(task, 1).state for _ in range(2)] == ["complete"] * 2  # 0.01 and 0.01 each
    run = perform_job(task, "a longer prompt " * 4, raises=errors.BudgetExceeded)
    assert "0.0400 USD are spent, and it may take 0.0" in str(run.exception)
    assert spent_of(state_of(huey), huey.limits.caps, state_of(huey).now()) == {"$0.05 per day": "0.0400 USD"}


def test_a_model_without_a_price_is_refused(huey, provider):
    budget(huey, "5 USD per day", prices=PRICES)
    with pytest.raises(errors.ConfigError, match="there is no price for the model 'other'"):
        perform_job(asking(huey, provider, model="other"), 1)
    budget(huey, "5 EUR per day", prices=PRICES)
    with pytest.raises(errors.ConfigError, match="the price of 'priced' is in USD"):
        perform_job(asking(huey, provider, model="priced", name="priced"), 1)
    assert provider.asked == 0
    with pytest.raises(errors.ConfigError, match="is of money: pass prices="):
        MemoryHuey("other", budget="5 USD per day")


def spent_today(huey):
    (spent,) = spent_of(state_of(huey), huey.limits.caps, state_of(huey).now()).values()
    return spent


def test_a_request_spends_nothing_if_it_is_refused_or_not_sent_and_its_estimate_if_no_usage_comes(huey, provider):
    budget(huey, "1000 tokens per day")
    provider.refusals = [(400, {})]
    perform_job(asking(huey, provider, max_output_tokens=500), 1, raises=errors.BadRequest)
    assert (provider.asked, spent_today(huey)) == (1, "0 tokens")

    @huey.task()
    def leave():
        with aquila.stream("hi", transport=provider, max_output_tokens=500):
            pass

    perform_job(leave)
    assert (provider.asked, spent_today(huey)) == (1, "0 tokens")
    provider.reports_usage = False
    perform_job(asking(huey, provider, name="unreported", max_output_tokens=500), 1)
    assert spent_today(huey) == "505 tokens"


def test_a_budget_holds_outside_of_tasks_too(provider):
    huey = MemoryHuey("app")
    budget(huey, "20 tokens per day, 5 tokens per task")
    with within_limits(huey):
        aquila.ask("hi", transport=provider)
        with pytest.raises(errors.BudgetExceeded):
            aquila.ask("hi" * 20, transport=provider)


def test_tests_spend_nothing_unless_they_are_asked_to(huey, provider):
    set_limits(huey, budget="20 tokens per day")
    task = asking(huey, provider)
    assert [perform_job(task, 1).state for _ in range(3)] == ["complete"] * 3


@pytest.mark.parametrize(
    ("scope", "resets"),
    [("hour", "2026-11-26 13:00"), ("day", "2026-11-27 00:00"), ("month", "2026-12-01 00:00")],
)
def test_a_budget_begins_anew(scope, resets):
    state, caps = state_of(MemoryHuey("x")), parse_budget(f"10 tokens per {scope}")
    reserve_amounts(state, caps, None, Usage(input_tokens=8), task_id=None, now=NOON)
    with pytest.raises(errors.BudgetExceeded, match=f"It is reset at {resets} UTC") as caught:
        reserve_amounts(state, caps, None, Usage(input_tokens=8), task_id=None, now=NOON)
    reserve_amounts(state, caps, None, Usage(input_tokens=8), task_id=None, now=caught.value.resets_at.timestamp())


def test_a_budget_of_a_day_begins_anew_on_the_next_day_of_the_clock_of_a_test(huey, provider):
    budget(huey, "15 tokens per day")
    task = asking(huey, provider)

    @huey.task()
    def ask_now(text):
        task(text)

    task(1)
    task(2)
    ask_now.schedule((3,), delay=datetime.timedelta(hours=24))
    drained = drain_queue(with_time_skipping=True, raise_errors=False)
    assert [type(run.exception) for run in drained.runs] == [type(None), errors.BudgetExceeded, type(None), type(None)]
    assert provider.asked == 2


def test_the_spending_of_a_queue_is_never_forgotten():
    state, queue, day = (
        state_of(MemoryHuey("x")),
        parse_budget("10 tokens per queue"),
        parse_budget("10 tokens per day"),
    )
    reserve_amounts(state, [*queue, *day], None, Usage(input_tokens=8), task_id=None, now=NOON)
    later = NOON + 50 * 86_400
    reserve_amounts(state, day, None, Usage(input_tokens=8), task_id=None, now=later)
    assert sorted(entry.key.partition(":")[0] for entry in state.entries(budgets.TABLE)) == ["day", "queue"]
    with pytest.raises(errors.BudgetExceeded):
        reserve_amounts(state, queue, None, Usage(input_tokens=8), task_id=None, now=later)


def test_the_spending_of_a_task_is_kept_for_forty_days():
    state, task, day = state_of(MemoryHuey("x")), parse_budget("10 tokens per task"), parse_budget("10 tokens per day")
    reserve_amounts(state, task, None, Usage(input_tokens=8), task_id="1", now=NOON)
    for later, is_kept in ((39.9, True), (40.1, False)):
        reserve_amounts(state, day, None, Usage(input_tokens=1), task_id=None, now=NOON + later * 86_400)
        assert (state.get(budgets.TABLE, "task:1") is not None) == is_kept


def test_a_request_that_one_budget_refuses_takes_nothing_of_the_others():
    state, caps = state_of(MemoryHuey("x")), parse_budget("100 tokens per day, 10 tokens per task, 50 tokens per queue")
    with pytest.raises(errors.BudgetExceeded, match="10 tokens per task"):
        reserve_amounts(state, caps, None, Usage(input_tokens=20), task_id="t", now=NOON)
    assert set(spent_of(state, caps, NOON).values()) == {"0 tokens"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5 per day", r"at '5 per day' \(column 1\): of what\? Write tokens or a currency"),
        ("1k tokens per task, 5 USD per week", r"at '5 USD per week' \(column 21\): not a budget"),
        ("$5 USD per day", "of what"),
        ("0 tokens per day", "a budget is more than 0"),
        ("", "not a budget"),
        (f"{'9' * 400} tokens per day", "not a budget"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_an_example(text, said):
    with pytest.raises(errors.ConfigError, match=said):
        parse_budget(text)
    with pytest.raises(errors.ConfigError, match="a budget is a text such as"):
        parse_budget(5)


def test_the_example_reads_as_it_looks():
    assert [(cap.amount, cap.unit, cap.scope) for cap in parse_budget(EXAMPLE)] == [
        (200_000, "tokens", "task"),
        (20 * 10**9, "USD", "day"),
    ]
    assert [cap.unit for cap in parse_budget("€5/day; 1.5m tokens / month; 3 chf per queue")] == [
        "EUR",
        "tokens",
        "CHF",
    ]


@given(st.text(alphabet="0123456789 km$€tokensUSDperday/,;", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        caps = parse_budget(text)
    except errors.ConfigError:
        return
    assert all(cap.amount >= 1 for cap in caps)


@given(st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 40)), max_size=20), st.integers(1, 100))
def test_reservations_never_exceed_a_budget(requests, most):
    state, caps = state_of(MemoryHuey("x")), parse_budget(f"{most} tokens per day")
    counted = 0
    for estimate, actual in requests:
        try:
            held = reserve_amounts(state, caps, None, Usage(input_tokens=estimate), task_id=None, now=NOON)
        except errors.BudgetExceeded:
            assert counted + estimate > most
            continue
        assert counted + estimate <= most
        counted += estimate
        if actual is not None:
            held.settle(Usage(total_tokens=actual))
            counted += actual - estimate
    assert spent_of(state, caps, NOON) == {f"{most} tokens per day": f"{counted:,} tokens"}


@pytest.mark.parametrize("kind", STORAGES)
def test_of_threads_that_race_none_spends_what_is_not_there(make_aquila_huey, kind):
    huey = make_aquila_huey(kind)
    state, caps = state_of(huey), parse_budget("50 tokens per day, 100 tokens per queue")
    let_in, start = [], threading.Barrier(5)

    def race():
        start.wait()
        for _ in range(5):
            try:
                reserve_amounts(state, caps, None, Usage(input_tokens=10), task_id=None, now=NOON)
            except errors.BudgetExceeded:
                continue
            let_in.append(1)

    run_at_once([race] * 5)
    assert len(let_in) == 5
    assert set(spent_of(state, caps, NOON).values()) == {"50 tokens"}
