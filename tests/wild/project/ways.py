"""The ways of the client, each with a cassette of its own for every kind of test."""

import os

import pytest

PROMPT = "What flies?"
OTHER_PROMPT = "What swims?"

WAYS = os.environ["WILD_WAYS"].split()


def each_way(cassettes="{}", statuses=("",)):
    """Run a test for each way. ``cassettes`` names its cassette; a way of a status is named ``ask 429``."""
    ways = [f"{way} {status}".strip() for status in statuses for way in WAYS]
    marked = [pytest.param(way, marks=pytest.mark.aquila(cassettes.format(way)), id=way) for way in ways]
    return pytest.mark.parametrize("way", marked)
