"""The sums of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aquila.run_report.schema import Exchange, HostTotals, State, Test, Totals, Usage


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
    hosts, asked = sum_hosts(counted), _asked_in(counted)
    saved = list(_replayed_first(counted))
    return {
        "tests": len(counted),
        "replayed": _count(asked, "replayed"),
        "recorded": _count(asked, "recorded"),
        "scripted": _count(asked, "scripted"),
        "live": _count(asked, "live"),
        "missed": _count(asked, "missed"),
        "refused": _count(asked, "refused"),
        "pending": pending,
        "orphaned": orphans,
        "requests": len(asked),
        "input_tokens": sum(each["input_tokens"] for each in hosts),
        "output_tokens": sum(each["output_tokens"] for each in hosts),
        "saved": sum(each["timing"].get("ended", 0) for each in saved),
        "cost": _sum_costs(each for each in asked if each["source"] in ("recorded", "live")),
        "cost_saved": _sum_costs(each for each in saved if each["source"] == "replayed"),
        "hosts": hosts,
    }


def sum_hosts(tests: Iterable[Test]) -> list[HostTotals]:
    """Return the sums over the requests of tests by host and model, the most requests first."""
    groups: dict[tuple[str, str], list[Exchange]] = {}
    for exchange in _asked_in(tests):
        groups.setdefault((exchange["host"], model_of(exchange)), []).append(exchange)
    hosts: list[HostTotals] = [
        {
            "host": host,
            "model": model,
            "requests": len(exchanges),
            "input_tokens": sum(usage_of(each).get("input_tokens", 0) for each in exchanges),
            "output_tokens": sum(usage_of(each).get("output_tokens", 0) for each in exchanges),
            "cost": _sum_costs(exchanges),
            "time": sum(each["timing"].get("ended", 0) for each in exchanges),
        }
        for (host, model), exchanges in groups.items()
    ]
    return sorted(hosts, key=lambda each: (-each["requests"], each["host"], each["model"]))


def _asked_in(tests: Iterable[Test]) -> list[Exchange]:
    return [exchange for test in tests for exchange in test["exchanges"] if is_asked(exchange)]


def _replayed_first(tests: Iterable[Test]) -> Iterator[Exchange]:
    """Yield the exchanges that were replayed; of a recording that answers several requests of a test, the first."""
    for test in tests:
        seen: set[tuple[str, int]] = set()
        for exchange in filter(is_asked, test["exchanges"]):
            place = exchange.get("cassette", ""), exchange.get("number", 0)
            if "replayed" in exchange["states"] and place not in seen:
                yield exchange
                if place[1]:
                    seen.add(place)


def _count(exchanges: Iterable[Exchange], state: State) -> int:
    return sum(state in exchange["states"] for exchange in exchanges)


def _sum_costs(exchanges: Iterable[Exchange]) -> dict[str, float]:
    """Return the costs of answers by currency."""
    costs: dict[str, float] = {}
    for usage in map(usage_of, exchanges):
        if "cost" in usage:
            currency = usage.get("currency", "USD")
            costs[currency] = costs.get(currency, 0.0) + usage["cost"]
    return costs
