"""The sums of a report."""

from __future__ import annotations

from collections.abc import Sequence

from aquila.run_report.schema import Exchange, HostTotals, Test, Totals


def last_attempts(tests: Sequence[Test]) -> list[Test]:
    """Return the last attempt of each test, in order."""
    last = {test["id"]: test for test in tests}
    return [test for test in tests if test["outcome"] != "rerun" or last[test["id"]] is test]


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
        if "unplayed" not in exchange["states"]:
            _add(totals, hosts, exchange)
    totals["hosts"] = sorted(hosts.values(), key=lambda each: (-each["requests"], each["host"], each["model"]))
    return totals


def _count(tests: Sequence[Test], state: str) -> int:
    return sum(state in test["states"] for test in tests)


def _add(totals: Totals, hosts: dict[tuple[str, str], HostTotals], exchange: Exchange) -> None:
    host, model = exchange["host"], exchange.get("model") or exchange.get("answered_by", "")
    of_host = hosts.setdefault(
        (host, model), {"host": host, "model": model, "requests": 0, "input_tokens": 0, "output_tokens": 0, "cost": {}}
    )
    usage = exchange.get("usage", {})
    for sums in (totals, of_host):
        sums["requests"] += 1
        sums["input_tokens"] += usage.get("input_tokens", 0)
        sums["output_tokens"] += usage.get("output_tokens", 0)
    was_paid = exchange["source"] in ("recorded", "live")
    if "replayed" in exchange["states"]:
        timing = exchange["timing"]
        totals["saved"] += max(0, timing.get("ended", 0) - timing.get("took", 0))
    if "cost" in usage:
        currency = usage.get("currency", "USD")
        costs = totals["cost"] if was_paid else totals["cost_saved"] if exchange["source"] == "replayed" else {}
        costs[currency] = costs.get(currency, 0.0) + usage["cost"]
        of_host["cost"][currency] = of_host["cost"].get(currency, 0.0) + usage["cost"]
