"""Command line, ini keys and the marker: each becomes options of ``aquila.config.Settings``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest

from aquila import config
from aquila.lazy_imports import lazy_modules
from pytest_aquila import task_fixtures

if TYPE_CHECKING:
    from aquila import errors
else:
    lazy_modules(globals(), errors="aquila.errors")

MARKER = "aquila"
LIVE = "aquila_live"
COMPAT = "aquila_vcr_compat"


_DRIFT_SETTINGS = {"transport": "replay", "match_on": "method path", "repeat": "last"}
"""The settings of a run that looks for drift: every request gets an answer, so that a test reaches its next one."""


def add_options(parser: pytest.Parser) -> None:
    """Declare the command line options and ini keys."""
    group = parser.getgroup("aquila", "aquila: cassettes for language models")
    group.addoption(
        "--aquila-record",
        nargs="?",
        const="missing",
        type=_parse_record_mode,
        metavar="missing|all",
        default=None,
        help="Record from the upstream what is missing or has drifted, and keep what matches; =all records everything "
        "again. A failing test replaces nothing.",
    )
    group.addoption(
        "--aquila-transport",
        default=None,
        metavar="NAME",
        help="replay (default), live, record, local or module:factory; overrides AQUILA_TRANSPORT.",
    )
    group.addoption(
        "--aquila-upstream",
        default=None,
        metavar="NAME",
        help="What to record from: live (default), local or module:factory; overrides AQUILA_UPSTREAM.",
    )
    group.addoption(
        "--aquila-replay-timing",
        default=None,
        metavar="PACE",
        help="Pace of replayed answers: instant (default), recorded, or a factor of the recorded times.",
    )
    group.addoption(
        "--aquila-orphans",
        action="store_true",
        help="After the run, list cassettes that no test used. Meaningful for a run of the whole suite.",
    )
    _add_drift_option(group)
    for name, help in config.ini_options():
        parser.addini(name, help, default=None)
    parser.addini(COMPAT, "understand the marks, fixtures and options of pytest-recording", type="bool", default=False)
    for name, help in task_fixtures.INI:
        parser.addini(name, help, default=None)


def _add_drift_option(group: pytest.OptionGroup) -> None:
    """Declare ``--aquila-drift``."""
    group.addoption(
        "--aquila-drift",
        nargs="?",
        const="-",
        default=None,
        metavar="FILE",
        help="List the requests whose content no recording has, and replay by method and path meanwhile; with FILE, "
        "write them there as JSON.",
    )


def _parse_record_mode(value: str) -> str:
    """What --aquila-record is given. Its value may be left out, so a path that follows is taken for it."""
    if value not in ("missing", "all"):
        raise argparse.ArgumentTypeError(
            f"{value!r} is neither missing nor all. To record a test or a folder, put it first: "
            f"pytest {value} --aquila-record"
        )
    return value


def wants_drift(config: pytest.Config) -> bool:
    """Whether this run looks for drift. Raises ``UsageError`` if it also records."""
    if config.getoption("aquila_drift") is None:
        return False
    if config.getoption("aquila_record") is not None or config.getoption("aquila_transport") not in (None, "replay"):
        raise pytest.UsageError(
            "--aquila-drift looks at what replays; leave --aquila-record and --aquila-transport out"
        )
    return True


def command_line_settings(pytest_config: pytest.Config) -> dict[str, Any]:
    """The settings that the command line gives."""
    options = {
        "transport": pytest_config.getoption("aquila_transport"),
        "upstream": pytest_config.getoption("aquila_upstream"),
        "replay_timing": pytest_config.getoption("aquila_replay_timing"),
    }
    if wants_drift(pytest_config):
        return {**_DRIFT_SETTINGS}
    record = pytest_config.getoption("aquila_record")
    if record is not None:
        if options["transport"] not in (None, "record"):
            raise pytest.UsageError(
                f"--aquila-record and --aquila-transport={options['transport']} contradict each other; "
                "to record from it, use --aquila-upstream"
            )
        options |= {"transport": "record", "record": record}
    return {name: value for name, value in options.items() if value is not None}


def ini_settings(pytest_config: pytest.Config) -> dict[str, str]:
    """The settings that the ini file gives."""
    values = {name.removeprefix("aquila_"): pytest_config.getini(name) for name, _ in config.ini_options()}
    return {name: value for name, value in values.items() if value not in (None, "")}


def marker_options(item: pytest.Item) -> tuple[str | None, dict[str, Any]]:
    """The cassette and the settings that the markers of a test give; the closest marker wins.

    Raises ``UnknownOption`` or ``ConfigError`` for what is not a setting.
    """
    cassette: str | None = None
    is_live = item.get_closest_marker(LIVE) is not None
    if is_live and item.get_closest_marker(MARKER) is not None:
        raise errors.ConfigError(
            f"{item.nodeid}: @pytest.mark.{MARKER} and @pytest.mark.{LIVE} contradict each other: the one is for a "
            "test that a cassette answers, the other for one that reaches the provider. Take one of them away"
        )
    options: dict[str, Any] = {"transport": "live"} if is_live else {}
    for marker in reversed(list(item.iter_markers(MARKER))):
        given = dict(marker.kwargs)
        cassette = given.pop("cassette", cassette)
        if marker.args:
            if len(marker.args) > 1 or not isinstance(marker.args[0], str):
                raise errors.ConfigError(
                    f"{item.nodeid}: @pytest.mark.aquila takes one cassette name and settings by keyword, "
                    f"not {', '.join(map(repr, marker.args))}"
                )
            cassette = marker.args[0]
        for name, value in given.items():
            options[name] = config.parse_option(name, value, source=f"{item.nodeid}: @pytest.mark.aquila")
    return cassette, options
