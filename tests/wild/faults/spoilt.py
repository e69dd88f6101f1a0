"""What clients make of answers with faults, in the same words for every provider."""

import asyncio
from dataclasses import dataclass, field, fields

import pytest

from aquila.errors import FaultFailed
from aquila.faults.table import FAULTS

TEXT = "one two three four"
CALL = ("weather", {"city": "Ulm"})
NEEDS_A_CALL = ("broken_arguments", "unknown_tool", "missing_call_id")
SAME = "the same"
IMPOSSIBLE = "impossible"


@dataclass
class Heard:
    """What a client has told its program so far. ``finish`` is the provider's word for how the answer ended."""

    text: str = ""
    calls: list[str] = field(default_factory=list)
    refusal: str = ""
    finish: str | None = None
    model: str | None = None
    usage: bool = False
    error: str = ""
    """An error that came as an event, and was not raised."""
    replaced: bool = False
    """Whether a sign stands somewhere in the place of bytes that are no text."""
    options: dict = field(default_factory=lambda: {"max_retries": 0}, compare=False)
    """Those of the client that is asked."""
    limit: float = field(default=60, compare=False)
    """How long its program waits, in seconds, where the client has no limit that ends a silence."""

    def call(self, name, arguments, id):
        """Note a tool call."""
        self.calls.append(f"{name}({arguments})" + ("" if id else " without an id"))

    def compare(self, good):
        """Say what is not as in the good answer."""
        names = [each.name for each in fields(self) if each.compare]
        parts = [(name, getattr(self, name), getattr(good, name)) for name in names]
        return "; ".join(f"{name} {value!r}" for name, value, wanted in parts if value != wanted) or SAME


def name_of(error):
    """Return the name by which a program catches an error."""
    return f"{type(error).__module__.partition('.')[0]}.{type(error).__qualname__}"


def outcome(faults, fault, ask):
    """Say what a program gets by ``ask`` under a fault: an error, with the text before it, or another answer."""
    good, heard, raised = Heard(), Heard(limit=2 if fault in ("timeout", "stall") else 60), ""
    ask(good)
    assert (good.text, good.calls[:1] and good.calls[0][:7]) in ((TEXT, []), ("", "weather"))
    try:
        with faults(fault):
            try:
                ask(heard)
            except Exception as error:  # noqa: BLE001 - which one it is, is the question
                raised = name_of(error)
    except FaultFailed:
        assert (raised, heard) == ("", good)
        return IMPOSSIBLE
    if not raised:
        return heard.compare(good)
    return f"{raised} after {heard.text!r}" if heard.text else raised


def faults(expected, *ways):
    """Run a test for each fault there is and each way of asking.

    ``expected`` has for each fault what comes of it: for all ways, or by way. An asynchronous way that is not there
    is as the synchronous one, and a helper as the plain stream.
    """
    rows = []
    for name in sorted({*FAULTS, *expected}):
        for way in ways:
            wanted = expected.get(name, "a fault without a row")
            if isinstance(wanted, dict):
                named = way.__name__
                others = (
                    named,
                    named.removesuffix("_async"),
                    named.removesuffix("_async").replace("helper", "streamed"),
                )
                wanted = next((wanted[other] for other in others if other in wanted), "a way without a row")
            rows.append(pytest.param(name, way, wanted, id=f"{name}, {way.__name__}"))
    return pytest.mark.parametrize(("fault", "ask", "wanted"), rows)


def check(script, faults, fault, ask, wanted):
    """Let a client get a scripted answer with a fault, and compare what it makes of it."""
    __tracebackhide__ = True
    script.unused = "ignore"
    if fault in NEEDS_A_CALL:
        script.reply(tool_calls=[CALL], times=2)
    else:
        script.reply(TEXT, times=2)
    got = outcome(faults, fault, ask)
    assert got == wanted, f"{fault}, {ask.__name__}: got {got}, and not {wanted}"


def waits_of(monkeypatch):
    """Let the waits of a client take no time, and return a list that gets their seconds."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr("anyio.sleep", sleep)
    return waits


def run(coroutine, limit=None):
    """Wait for a coroutine in an event loop of its own, and for so many seconds at most."""

    async def wait():
        async with asyncio.timeout(limit):
            return await coroutine

    return asyncio.run(wait())
