"""The answers that each SDK is given, and what a client hears of one, in the same words for every provider."""

import asyncio
import json
from dataclasses import dataclass, replace

import pytest

LONG = {"city": "Rome", "days": [1, 2, 3], "note": "grüße \u2028 🌧"}


@dataclass(frozen=True)
class Heard:
    """``calls`` are names and arguments. ``finish`` is the provider's word. ``usage``: tokens in and out."""

    text: str = ""
    calls: tuple = ()
    reasoning: str = ""
    refusal: str = ""
    finish: str = ""
    usage: tuple | None = None


CASES = {
    "text": (
        lambda script: script.reply("Hello  there,\n🌧 world.\n"),
        Heard("Hello  there,\n🌧 world.\n", finish="stop"),
    ),
    "chunks": (
        lambda script: script.reply(chunks=["a", "b\u2028", "\r\n", "c"]),
        Heard("ab\u2028\r\nc", finish="stop"),
    ),
    "tool calls": (
        lambda script: script.tool_calls(("weather", LONG), ("time", {}), ("weather", {"city": "Oslo"})),
        Heard(calls=(("weather", LONG), ("time", {}), ("weather", {"city": "Oslo"})), finish="tool_calls"),
    ),
    "text and a tool call": (
        lambda script: script.reply("Let me look.", tool_calls=[("weather", LONG)]),
        Heard("Let me look.", (("weather", LONG),), finish="tool_calls"),
    ),
    "reasoning": (
        lambda script: script.reasoning("Two and two.").reply("4"),
        Heard("4", reasoning="Two and two.", finish="stop"),
    ),
    "refusal": (lambda script: script.refuse("I will not."), Heard(refusal="I will not.", finish="refusal")),
    "usage": (lambda script: script.reply("Hi", usage=(12, 34)), Heard("Hi", finish="stop", usage=(12, 34))),
    "length": (lambda script: script.reply("Hi", finish="length"), Heard("Hi", finish="length")),
    "filter": (lambda script: script.reply("Hi", finish="content_filter"), Heard("Hi", finish="content_filter")),
}


def cases(*ways):
    """Run a test for each case and each of these ways of asking."""
    rows = [pytest.param(case, way, id=f"{case}, {way.__name__}") for case in CASES for way in ways]
    return pytest.mark.parametrize(("case", "ask"), rows)


def check(script, case, ask, finishes, **asked):
    """Let ``ask`` get the answer of a case. ``finishes`` are the provider's words for those of scripts."""
    write, expected = CASES[case]
    write(script)
    heard = ask(**asked)
    if expected.usage is None:
        heard = replace(heard, usage=None)
    assert heard == replace(expected, finish=finishes[expected.finish])
    assert script.requests[0].messages[-1].text == "Hi!"


def in_pieces(pieces):
    """Return the value of arguments that came in pieces. Long ones came in several."""
    text = "".join(pieces)
    assert len(pieces) > 1 or len(text) < 20
    return json.loads(text or "{}")


def run(coroutine):
    """Wait for a coroutine in an event loop of its own."""
    return asyncio.run(coroutine)
