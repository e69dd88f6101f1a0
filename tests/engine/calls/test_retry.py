"""Whether and when a failed request is sent again: the openai SDK's own rules."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path

import httpx2
import openai
import pytest

from aquila.engine.calls.error_translation import ErrorContext
from aquila.engine.calls.retry import asks_for_longer_wait, delay_before_retry
from aquila.engine.calls.stored_answers import plan_deletion
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.loop.steps import RequestOutcome, SendRequest, Sleep
from aquila.errors import (
    BadRequest,
    CassetteMiss,
    ConnectionFailed,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestTimeout,
    StreamBroken,
)
from aquila.hookspecs import CallInfo
from aquila.transports.requested_delay import read_providers_delay
from tests.support.forked import do_in_child

UNAVAILABLE = ProviderUnavailable("503", status=503)
NO_HEADERS: Mapping[str, str] = {}


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (2000, 8.0)]
)
def test_delay_doubles_up_to_eight_seconds_and_varies_by_a_quarter(attempt: int, longest: float) -> None:
    delays = [delay_before_retry(attempt, UNAVAILABLE, NO_HEADERS, limit=2000) or 0.0 for _ in range(300)]
    assert 0.75 * longest <= min(delays) <= max(delays) <= longest
    # So that clients that failed together do not come back together. 300 even draws leave no tenth of the range empty
    # at its ends, but once in 10**13 runs.
    assert min(delays) < 0.775 * longest
    assert max(delays) > 0.975 * longest


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "20", "retry-after": "7"}, 0.02),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "121"}, None),
    ],
)
def test_delay_is_what_the_provider_asks_for_up_to_two_minutes(headers: Mapping[str, str], delay: float | None) -> None:
    assert delay_before_retry(1, UNAVAILABLE, headers, limit=2) == delay


@pytest.mark.parametrize("value", ["", "0", "-3", "nan", "soon", formatdate(0, usegmt=True)])
def test_impossible_delay_of_the_provider_is_ignored(value: str) -> None:
    delay = delay_before_retry(1, UNAVAILABLE, {"retry-after": value}, limit=2)
    assert delay is not None
    assert 0.375 <= delay <= 0.5


def test_delay_until_a_date_is_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquila.transports.requested_delay.time.time", lambda: 1000.0)
    headers = {"retry-after": formatdate(1030, usegmt=True)}
    assert delay_before_retry(1, UNAVAILABLE, headers, limit=2) == 30.0
    # Measured by the provider's Date field, if there is one: our clock may be wrong, and an answer may be recorded.
    assert delay_before_retry(1, UNAVAILABLE, {**headers, "date": formatdate(1010, usegmt=True)}, limit=2) == 20.0


OPENAI, ANTHROPIC = "x-ratelimit", "anthropic-ratelimit"
NOON = {"date": "Thu, 26 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({f"{OPENAI}-reset-requests": "1s", f"{OPENAI}-reset-tokens": "6m0s"}, 360.0),
        (
            {f"{OPENAI}-reset-requests": "1s", f"{OPENAI}-reset-tokens": "6m0s", f"{OPENAI}-remaining-tokens": "0"},
            360.0,
        ),
        ({f"{OPENAI}-reset-requests": "8.64s", f"{OPENAI}-reset-tokens": "20ms"}, 8.64),
        (
            # The request was larger than what was left of the tokens.
            {
                f"{OPENAI}-reset-requests": "8ms",
                f"{OPENAI}-remaining-requests": "4999",
                f"{OPENAI}-reset-tokens": "45s",
                f"{OPENAI}-remaining-tokens": "1200",
            },
            45.0,
        ),
        ({f"{OPENAI}-reset-tokens": "1d2h3m4.5s"}, 93_784.5),
        ({f"{ANTHROPIC}-requests-reset": "2026-11-26T12:00:30Z", **NOON}, 30.0),
        ({f"{ANTHROPIC}-tokens-reset": "2026-11-26T14:00:30+02:00", **NOON}, 30.0),
        ({f"{ANTHROPIC}-tokens-reset": "2026-11-26T11:00:00Z", **NOON}, 0.0),
        ({f"{OPENAI}-reset-tokens": "6m0s", "retry-after": "7"}, 7.0),
        ({f"{OPENAI}-reset-tokens": "6m0s", "retry-after-ms": "1"}, 360.0),  # the latter is what a replay adds
        *(({f"{OPENAI}-reset-tokens": text}, None) for text in ("", "soon", "12", "-1s", "1s1m", "9" * 100 + "s")),
        *(({f"{ANTHROPIC}-tokens-reset": text}, None) for text in ("", "soon", "2026-11-26T12:00:30")),
    ],
)
def test_without_a_delay_the_reset_times_of_rate_limits_are_read(
    headers: Mapping[str, str], delay: float | None
) -> None:
    assert read_providers_delay(headers, 429) == delay
    if "retry-after" not in headers:
        assert read_providers_delay(headers, 503) is None
    error = RateLimited("busy", status=429, retry_after=read_providers_delay(headers, 429))
    if delay is not None and delay > 120:
        assert (delay_before_retry(1, error, headers, limit=2) is None) is ("retry-after-ms" not in headers)


@pytest.mark.parametrize(
    ("error", "headers", "again"),
    [
        (ConnectionFailed("no connection"), {}, True),
        (RequestTimeout("read"), {}, True),
        *((ProviderError("x", status=status), {}, True) for status in (408, 409, 429, 500, 599)),
        *((BadRequest("x", status=status), {}, False) for status in (400, 404, 422)),
        (BadRequest("x", status=400), {"x-should-retry": "true"}, True),
        (UNAVAILABLE, {"x-should-retry": "false"}, False),
        (StreamBroken("x"), {}, False),
        (KeyError("a bug"), {}, False),
    ],
)
def test_only_temporary_errors_are_retried(error: BaseException, headers: Mapping[str, str], again: bool) -> None:
    assert (delay_before_retry(1, error, headers, limit=1) is not None) is again


def test_retries_end_at_the_limit() -> None:
    assert delay_before_retry(2, UNAVAILABLE, NO_HEADERS, limit=2) is not None
    assert delay_before_retry(3, UNAVAILABLE, NO_HEADERS, limit=2) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_workers_choose_different_delays(tmp_path: Path) -> None:
    delays = tmp_path / "delays"

    def note_delays() -> None:
        with delays.open("a") as file:
            file.write(f"{[delay_before_retry(1, UNAVAILABLE, NO_HEADERS, limit=1) for _ in range(5)]}\n")

    assert [do_in_child(note_delays) for _ in range(2)] == [0, 0]
    first, second = delays.read_text().splitlines()
    assert first != second


def test_call_waits_as_long_as_its_retry_event_says() -> None:
    plan = plan_deletion("resp_1", {"max_retries": 1})
    context = ErrorContext("example.org", plan.timeouts)
    steps = plan.make_loop(
        plan, Telemetry(CallInfo("call-1", "delete_response", ""), shows_content=False), context
    ).steps()
    assert isinstance(next(steps), SendRequest)
    emitted = steps.send(RequestOutcome(error=UNAVAILABLE, headers={"retry-after": "7"}))
    assert [event.delay for event in emitted.events] == [7.0]
    assert next(steps) == Sleep(7.0)
    assert isinstance(next(steps), SendRequest)


def test_delays_do_not_use_the_random_numbers_of_the_program() -> None:
    state = random.getstate()
    try:
        random.seed(7)
        expected = random.random()
        random.seed(7)
        first = delay_before_retry(1, ConnectionFailed("x"), {}, limit=9)
        assert random.random() == expected
        random.seed(7)
        assert delay_before_retry(1, ConnectionFailed("x"), {}, limit=9) != first
    finally:
        random.setstate(state)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimited("429", status=429, retry_after=61.0), True),
        (RateLimited("429", status=429, retry_after=60.0), False),
        (RateLimited("429", status=429), False),
        (ProviderUnavailable("503", status=503, retry_after=61.0), True),
        (ProviderUnavailable("500", status=500, retry_after=61.0), False),
        (ConnectionFailed("no route"), False),
    ],
)
def test_only_an_overloaded_provider_asks_for_a_longer_wait(error: Exception, expected: bool) -> None:
    assert asks_for_longer_wait(error, 60.0) is expected


def test_an_error_of_a_transport_that_the_sdk_has_wrapped_is_not_its_own_cause() -> None:
    raised = CassetteMiss("nothing like it")
    wrapped = openai.APIConnectionError(request=httpx2.Request("DELETE", "https://example.org/v1/responses/resp_1"))
    wrapped.__cause__ = raised
    plan = plan_deletion("resp_1", {})
    steps = plan.make_loop(
        plan, Telemetry(CallInfo("call-1", "delete_response", ""), shows_content=False), ErrorContext("", plan.timeouts)
    ).steps()
    next(steps)
    with pytest.raises(CassetteMiss) as caught:
        steps.send(RequestOutcome(error=wrapped))
    assert caught.value is raised
    assert raised.__cause__ is None
