"""The ways of all clients, such as ``openai_realtime.text_async``, each with a cassette of its own."""

import asyncio
import importlib
import inspect
import os

import pytest

PROMPT = "What flies?"
OTHER_PROMPT = "What swims?"

WAYS = os.environ["WILD_WAYS"].split()


def each_way(cassettes="{}", ways=WAYS):
    """Run a test for each way."""
    marked = [pytest.param(way, marks=pytest.mark.aquila(cassettes.format(way)), id=way) for way in ways]
    return pytest.mark.parametrize("way", marked)


def go(way, prompt):
    """Use a client in one way. Return what the program has seen."""
    application, _, name = way.partition(".")
    seen = getattr(importlib.import_module(application), name)(prompt)
    return asyncio.run(seen) if inspect.iscoroutine(seen) else seen
