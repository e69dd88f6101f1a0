"""Options of pytest-recording, and the meaning of its marks and options for one test."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pytest_aquila import node_ids

RECORD_MODES = ("once", "new_episodes", "none", "all", "rewrite")
REWRITE = "rewrite"
"""The mode that pytest-recording has besides those of vcrpy."""

MARKERS = (
    "vcr(*more, **config): this test uses a cassette, as in pytest-recording",
    "default_cassette(name): the name of its cassette",
    "block_network(allowed_hosts): refuse every connection but loopback's",
    "allowed_hosts(hosts): patterns of hosts that are not refused",
)


def add_options(group: pytest.OptionGroup) -> None:
    """Declare the options of pytest-recording."""
    group.addoption("--record-mode", choices=RECORD_MODES, default=None, help="As in pytest-recording.")
    group.addoption("--disable-recording", action="store_true", help="Live, without cassettes.")
    group.addoption("--block-network", action="store_true", help="Refuse every connection but loopback's.")
    group.addoption("--allowed-hosts", default=None, help="Patterns of hosts that --block-network lets through.")


def merge_config(config: Mapping[str, Any], markers: Sequence[pytest.Mark]) -> dict[str, Any]:
    """Return the configuration of a test: that of its fixture, then that of its markers; the closest one wins."""
    merged = dict(config)
    for marker in reversed(markers):
        merged.update(marker.kwargs)
    return merged


def is_blocked(item: pytest.Item) -> bool:
    """Whether the network is blocked for a test. Raises ``UsageError`` for a mark with wrong arguments."""
    marker = item.get_closest_marker("block_network")
    if marker is not None and (marker.args or marker.kwargs.keys() - {"allowed_hosts"}):
        raise pytest.UsageError(
            f"{node_ids.id_of(item)}: @pytest.mark.block_network takes allowed_hosts, and nothing else; not "
            f"{', '.join(map(repr, (*marker.args, *marker.kwargs)))}"
        )
    return marker is not None or bool(item.config.getoption("--block-network"))


def is_blocked_with_cassette(item: pytest.Item, merged: Mapping[str, Any], record_mode: str) -> bool:
    """Whether the network is blocked for a test with a cassette: not if the test records.

    ``merged`` is its configuration and ``record_mode`` that of the run.
    """
    mode = item.config.getoption("--record-mode") or merged.get("record_mode", record_mode)
    return mode == "none" and is_blocked(item)


def explain_block(item: pytest.Item) -> str:
    """Return advice for a request that is refused because the network is blocked for its test."""
    marked = item.get_closest_marker("block_network") is not None
    by, allow = ("its mark block_network", "the mark's") if marked else ("--block-network", "--allowed-hosts, or")
    return (
        f"The network is blocked by {by}. To answer it from a cassette mark the test @pytest.mark.vcr.\n"
        f"To let it go, give its host in {allow} allowed_hosts" + ("." if marked else " of vcr_config.")
    )


def find_allowed_hosts(item: pytest.Item, config: Mapping[str, Any]) -> Sequence[str]:
    """Return the patterns of hosts that are let through: of the mark, else the command line, else the configuration."""
    marker = item.get_closest_marker("block_network")
    given = (
        (marker.kwargs.get("allowed_hosts") if marker is not None else None)
        or item.config.getoption("--allowed-hosts")
        or config.get("allowed_hosts")
        or ()
    )
    return given.split(",") if isinstance(given, str) else list(given)


def match_hosts(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether the beginning of a host matches one of the regular expressions."""
    whole = re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or "(?!)")
    return lambda host: whole.match(host) is not None
