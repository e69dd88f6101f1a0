"""Relations between the requests of one test: repeated attempts, and results of tools."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.storage.recording_slots import is_failure
from aquila.run_report.requests import pair_results
from aquila.run_report.schema import Exchange, ToolCall


def count_attempts(exchanges: Iterable[Exchange]) -> None:
    """Number retries: requests that equal an earlier request which failed."""
    last: dict[tuple[object, ...], Exchange] = {}
    for exchange in exchanges:
        if "unplayed" in exchange["states"]:
            continue
        body = exchange.get("request_body", "")
        said = body if isinstance(body, str) else body["key"]
        key = (exchange["method"], exchange["host"], exchange["path"], said)
        before = last.get(key)
        if before is not None and _has_failed(before):
            before.setdefault("attempt", 1)
            exchange["attempt"] = before["attempt"] + 1
        last[key] = exchange


def _has_failed(exchange: Exchange) -> bool:
    if "status" not in exchange:
        return True
    end = exchange.get("end", "complete")
    answer = RecordedResponse(exchange["status"], end="complete" if end == "open" else end)
    return is_failure(answer) or "faulted" in exchange["states"]


def pair_across(exchanges: Sequence[Exchange]) -> None:
    """Add to the tool calls of each answer the results from later requests."""
    calls: dict[str, ToolCall] = {}
    for before, exchange in itertools.pairwise(exchanges):
        # An id may occur in several answers. A result then belongs to the last of them before it.
        said = [call for message in before.get("answer", ()) for call in message.get("tool_calls", ())]
        calls.update((call["id"], call) for call in said if "id" in call)
        results = [message for message in exchange["messages"] if message["role"] == "tool"]
        for message in reversed(results):
            call = calls.get(message.get("tool_call_id", ""))
            if call is not None:
                call.setdefault("result", message.get("text", ""))
        if results and not any("tool_call_id" in message for message in results):
            last = [*itertools.takewhile(lambda each: each["role"] == "tool", reversed(exchange["messages"]))]
            pair_results([*before.get("answer", ()), *reversed(last)])
