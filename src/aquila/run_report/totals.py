"""The sums of a report."""

from __future__ import annotations

from collections.abc import Sequence

from aquila.run_report.schema import Exchange, HostTotals, Test, Totals, Usage


def identity_of(test: Test) -> str:
    """Return an identity that all attempts of a test share with no other test."""
    return test.get("identity", test["id"])


def last_attempts(tests: Sequence[Test]) -> list[Test]:
    """Return the last attempt of each test, in order."""
    last = {identity_of(test): test for test in tests}
    return [test for test in tests if test["outcome"] != "rerun" or last[identity_of(test)] is test]


def is_asked(exchange: Exchange) -> bool:
    """Whether an exchange was a request of the test, rather than a recording that was not played."""
    return "unplayed" not in exchange["states"]


def model_of(exchange: Exchange) -> str:
    """Return the model that a request named, or else the one that answered."""
    return exchange.get("model") or exchange.get("answered_by", "")


def usage_of(exchange: Exchange) -> Usage:
    """Return the usage of an answer; empty for a faulted one, which cost nothing."""
    return {} if "faulted" in exchange["states"] or not is_asked(exchange) else exchange.get("usage", {})


def sum_up(tests: Sequence[Test], *, pending: int, orphans: int) -> Totals:
    """Return the sums over the last attempt of each test. ``pending`` files wait, ``orphans`` cassettes are unused."""
    counted = last_attempts(tests)
    totals: Totals = {
        "tests": len(counted),
        "replayed": _count(counted, "replayed"),
        "recorded": _count(counted, "recorded"),
        "scripted": _count(counted, "scripted"),
        "live": _count(counted, "live"),
        "missed": _count(counted, "missed"),
        "refused": _count(counted, "refused"),
        "pending": pending,
        "orphaned": orphans,
        "requests": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "saved": 0,
        "cost": {},
        "cost_saved": {},
        "hosts": [],
    }
    hosts: dict[tuple[str, str], HostTotals] = {}
    for exchange in (each for test in counted for each in test["exchanges"]):
        if is_asked(exchange):
            _add(totals, hosts, exchange)
    totals["hosts"] = sorted(hosts.values(), key=lambda each: (-each["requests"], each["host"], each["model"]))
    return totals


def _count(tests: Sequence[Test], state: str) -> int:
    return sum(state in exchange["states"] for test in tests for exchange in test["exchanges"])


def _add(totals: Totals, hosts: dict[tuple[str, str], HostTotals], exchange: Exchange) -> None:
    host, model = exchange["host"], model_of(exchange)
    of_host = hosts.setdefault(
        (host, model), {"host": host, "model": model, "requests": 0, "input_tokens": 0, "output_tokens": 0, "cost": {}}
    )
    usage = usage_of(exchange)
    for sums in (totals, of_host):
        sums["requests"] += 1
        sums["input_tokens"] += usage.get("input_tokens", 0)
        sums["output_tokens"] += usage.get("output_tokens", 0)
    was_paid = exchange["source"] in ("recorded", "live")
    if "replayed" in exchange["states"]:
        totals["saved"] += exchange["timing"].get("ended", 0)
    if "cost" in usage:
        currency = usage.get("currency", "USD")
        costs = totals["cost"] if was_paid else totals["cost_saved"] if exchange["source"] == "replayed" else {}
        costs[currency] = costs.get(currency, 0.0) + usage["cost"]
        of_host["cost"][currency] = of_host["cost"].get(currency, 0.0) + usage["cost"]
