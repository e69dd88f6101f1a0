"""How long redaction takes for texts of up to 10 MB, and whether the time grows no faster than the text.

Each row is one kind of rule on one kind of text. The last column is a ratio: the time for each byte of the largest
text, over that of a text a hundred times smaller. It is 1 if the work is linear.
"""

from __future__ import annotations

import base64
import json
import random
import re
import time
from collections.abc import Callable, Sequence

from aquila.cassettes.model import RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor, Rule
from benchmarks.harness import QUICK, Report, duration, main, quiet_collector

SMALL, LARGE = (10_000, 1_000_000) if QUICK else (100_000, 10_000_000)
_WORDS = re.findall(
    r"\S+|\n", "the token of an eagle, in a basic nest: bearer key secrets are 42. C-471108 and user_name (api) \n"
)


def prose(size: int) -> str:
    """Words, some of which begin like a secret."""
    dice = random.Random(1)
    return " ".join(dice.choices(_WORDS, k=size // 5))[:size]


def chat(size: int) -> str:
    """The request of a chat with many messages."""
    text = prose(1000)
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}] * max(1, size // 1100)})


TEXTS: dict[str, Callable[[int], str]] = {
    "prose": prose,
    "a chat": chat,
    "base64": lambda size: base64.b64encode(random.Random(2).randbytes(size * 3 // 4)).decode(),
    "ids": lambda size: json.dumps([f"call_{number:032x}" for number in range(size // 41)]),
    "escapes": lambda size: "\\u0041\\n%41" * (size // 11),
    "one letter": lambda size: "a" * size,
    "Basic and +": lambda size: "Basic " + "+" * size,
    "Bearer, again and again": lambda size: "Bearer+" * (size // 7),
    "a prefix, again and again": lambda size: "sk-eyJ-" * (size // 7),
    "a header of a key": lambda size: "-----BEGIN " * (size // 11),
    "secrets": lambda size: "key sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9 and\n" * (size // 48),
}


def _customers(text: str) -> str:
    return re.sub(r"\bC-\d{6}\b", "[customer]", text)


def _secrets(count: int) -> dict[str, str]:
    dice = random.Random(3)
    return {base64.b64encode(dice.randbytes(24)).decode(): "value of KEY" for _ in range(count)}


RULES: dict[str, tuple[int, Sequence[Rule], Sequence[str]]] = {
    "built-in rules": (1, (), tuple(TEXTS)),
    "a pattern added": (1, (r"\bC-\d{6}\b",), ("prose", "a chat")),
    "a function added": (1, (_customers,), ("prose", "a chat", "base64")),
    "20 known values": (20, (), ("prose", "a chat", "base64")),
    "200 known values": (200, (), ("prose", "a chat", "base64")),
    "1,000 known values": (1000, (), ("prose", "a chat", "base64")),
}


def run(report: Report) -> None:
    """Measure every rule on its texts."""
    linear(report)
    small_call(report)


def linear(report: Report) -> None:
    """Compare the time for each byte of two texts, one a hundred times as large as the other."""
    report.heading(f"Redacting a text of {LARGE // 1_000_000} MB")
    rows: list[tuple[str, float, float]] = []
    for rule, (count, extra, texts) in RULES.items():
        for name in texts:
            redactor = Redactor(_secrets(count), extra)
            rows.append((f"{rule}, {name}", *_seconds_for_each_byte(redactor.redact_text, TEXTS[name])))
    rows.append(("a request that names its secrets", *_seconds_for_each_byte(_redact_login, prose)))
    worst = max(large / small for _, small, large in rows)
    report.rows(
        ("", "whole", "for each byte", "by the smaller text"),
        [
            (name, duration(large * LARGE), f"{large * 1e9:.0f} ns", f"{large / small:.2f}")
            for name, small, large in rows
        ],
    )
    report.aim("growth of the time for each byte, over a hundred times the size", worst, at_most=2, unit="x")


def _redact_login(text: str) -> None:
    body = json.dumps({"api_key": "Zq81-not-shaped-4711", "note": text, "password": "postgres"}).encode()
    Redactor().redact_request(RecordedRequest("POST", "https://x.example/v1", (), body))


def _seconds_for_each_byte(redact: Callable[[str], object], make: Callable[[int], str]) -> tuple[float, float]:
    return _seconds(redact, make(SMALL)) / SMALL, _seconds(redact, make(LARGE)) / LARGE


def _seconds(redact: Callable[[str], object], text: str) -> float:
    redact("warm up, 4711")
    best = float("inf")
    for _ in range(3 if len(text) <= SMALL else 1):
        with quiet_collector():
            start = time.process_time()
            redact(text)
            best = min(best, time.process_time() - start)
    return best


def small_call(report: Report) -> None:
    """Measure the redaction of a small call, with a request and a response of some 2 KB each."""
    body = chat(2000).encode()
    request = RecordedRequest(
        "POST",
        "https://provider.example/v1/chat/completions",
        (("authorization", "Bearer sk-none-4711-0815-eagle"), ("content-type", "application/json")),
        body,
    )
    answer = RecordedResponse(200, (("content-type", "application/json"),), (RecordedChunk(body),))
    redactor = Redactor(_secrets(3))
    count = 200 if QUICK else 2000
    rows = []
    for name, once in (
        ("request", lambda: redactor.redact_request(request)),
        ("answer", lambda: redactor.redact_response(answer)),
    ):
        once()
        with quiet_collector():
            start = time.process_time()
            for _ in range(count):
                once()
            rows.append((name, duration((time.process_time() - start) / count)))
    report.heading("Redacting a call of 2 KB")
    report.rows(("", "each"), rows)


if __name__ == "__main__":
    main(run)
