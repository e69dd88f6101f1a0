"""Command line, ini keys and the marker: each becomes options of ``aquila.settings.Settings``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from aquila.config import OPTION_ROWS
from aquila.intercept import provider_keys

MARKER = "aquila"
LIVE = "aquila_live"
COMPAT = "aquila_vcr_compat"
PYTEST_VCR_COMPAT = "aquila_pytest_vcr_compat"
CASSETTER_COMPAT = "aquila_cassetter_compat"
REPLACED_RECORDERS = {COMPAT: "pytest-recording", PYTEST_VCR_COMPAT: "pytest-vcr", CASSETTER_COMPAT: "cassetter"}
"""The ini keys that let Aquila stand in for another recorder's plugin, and the distributions of these plugins."""


IMPLIED_VALUES = {
    "--aquila-record": "missing",
    "--aquila-drift": "-",
    "--aquila-orphans": "-",
    "--aquila-verify": "all",
    "--aquila-faults": "usual",
}
"""The options whose value may be left out, each with its value in that case; see ``option_values``."""


_HUEY_KEYS = (
    ("aquila_huey", "the Hueys under test, as module:attribute; the first is that of the fixtures"),
    ("aquila_huey_storage", "where tasks go in a test: memory (default), or own: the Huey's, emptied before each test"),
    ("aquila_huey_leftover", "tasks that a passing test leaves in the queue: ignore (default), warn or fail"),
)
"""The ini keys of the fixtures for Huey tasks, with their help."""


_REPORT = "--aquila-report"

_COMMAND_OPTIONS = (
    (
        "--aquila-record",
        "missing|all|pending",
        "Record from the upstream what is missing or has drifted, and keep what matches; =all records everything "
        "again; =pending does so beside the cassettes, for a review. A failing test replaces nothing.",
    ),
    (
        "--aquila-transport",
        "NAME",
        "replay (default), live, record, local, script or module:factory; overrides AQUILA_TRANSPORT.",
    ),
    (
        "--aquila-upstream",
        "NAME",
        "What to record from: live (default), local, script or module:factory; overrides AQUILA_UPSTREAM.",
    ),
    (
        "--aquila-replay-timing",
        "PACE",
        "Pace of replayed answers: instant (default), recorded, or a factor of the recorded times.",
    ),
    (
        "--aquila-orphans",
        "FILE",
        "After a run of all tests, list the cassettes that no test used; with FILE, write them there as JSON, for "
        "aquila cassettes prune.",
    ),
    (
        _REPORT,
        "FILE",
        "Write the requests of the tests and their answers to FILE: a page (FILE.html) or data (FILE.json). For "
        "both, give the option twice.",
    ),
    (
        "--aquila-drift",
        "FILE",
        "List the requests that no recording answers, grouped by change. In this run the nearest recording "
        "answers them. With FILE, write the list there as JSON.",
    ),
    (
        "--aquila-verify",
        "SAMPLE",
        "Replay; after the tests, send the same requests to the upstream with real keys, and say what was "
        "refused, and which answers differ. Changes no cassette. =10%% or =20 takes a sample, oldest first.",
    ),
    ("--aquila-verify-json", "FILE", "Write what --aquila-verify finds to FILE, as JSON."),
    (
        "--aquila-faults",
        "FAULTS",
        "Run each test that has a cassette or a script once more under each of the usual faults, and say what it "
        "does; =all takes every fault, =cut_stream,overloaded(times=2) takes these two. Changes no cassette.",
    ),
    ("--aquila-faults-json", "FILE", "Write what --aquila-faults finds to FILE, as JSON."),
)
"""The command line options, each with the name of its value and its help."""

_OF_A_REPLAY = ("--aquila-verify", "--aquila-faults", "--aquila-drift")
"""The options that do more with a replay, each of which must be alone."""


def _dest_of(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def add_options(parser: pytest.Parser) -> None:
    """Declare the command line options and ini keys."""
    group = parser.getgroup("aquila", "aquila: cassettes for language models")
    for name, metavar, help in _COMMAND_OPTIONS:
        implied = {"nargs": "?", "const": IMPLIED_VALUES[name]} if name in IMPLIED_VALUES else {}
        given: dict[str, Any] = {"action": "append", "default": []} if name == _REPORT else {"default": None, **implied}
        # Without `dest` pytest searches all other options for the same one, which takes longer than all else here.
        group.addoption(name, dest=_dest_of(name), metavar=metavar, help=help, **given)
    parser.addini("aquila_faults_timeout", "seconds that a test may take under a fault (30)", default=None)
    parser.addini(
        "aquila_faults_allowed",
        "findings of --aquila-faults that fail no run: on each line a test, a fault and a finding, with * for any text",
        default=None,
    )
    for name, _, _, is_ini, _, help in OPTION_ROWS:
        if is_ini:
            parser.addini(f"aquila_{name}", help, default=None)
    for name, package in REPLACED_RECORDERS.items():
        help = f"understand the marks, fixtures and options of {package}"
        parser.addini(name, help, type="bool", default=False)
    for name, help in _HUEY_KEYS:
        parser.addini(name, help, default=None)


def wants_faults(config: pytest.Config) -> bool:
    """Whether this run also runs tests under faults."""
    return config.option.aquila_faults is not None


def wants_verification(config: pytest.Config) -> bool:
    """Whether this run sends the replayed requests to the upstream again."""
    return config.option.aquila_verify is not None


def wants_drift(config: pytest.Config) -> bool:
    """Whether this run looks for drift."""
    return config.option.aquila_drift is not None


def _check_replay(chosen: argparse.Namespace) -> bool:
    """Return whether an option asks for a replay. Raises ``UsageError`` for another that contradicts it."""
    given = [each for each in ("--aquila-record", *_OF_A_REPLAY) if getattr(chosen, _dest_of(each)) is not None]
    if chosen.aquila_transport not in (None, "replay"):
        given.append("--aquila-transport")
    for option in _OF_A_REPLAY:
        others = [each for each in given if each != option]
        if option in given and others:
            raise pytest.UsageError(f"{option} needs a replay; leave {' and '.join(others)} out")
        if option not in given and getattr(chosen, f"{_dest_of(option)}_json", None) is not None:
            raise pytest.UsageError(f"{option}-json names a file for {option}; give {option}, too")
    if chosen.aquila_faults is not None:
        if sys.platform == "win32":
            raise pytest.UsageError("--aquila-faults forks a process for each fault: it needs Linux or macOS")
        if not hasattr(gc, "freeze"):  # PyPy: see `LeftBehind`
            raise pytest.UsageError(
                "--aquila-faults asks the garbage collector what tests leave behind: it needs CPython"
            )
    return not set(given).isdisjoint(_OF_A_REPLAY)


def command_line_settings(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the options ``chosen`` of the command line give. Raises ``UsageError``."""
    options = {
        "transport": chosen.aquila_transport,
        "upstream": chosen.aquila_upstream,
        "replay_timing": chosen.aquila_replay_timing,
    }
    if _check_replay(chosen):
        options["transport"] = "replay"
    record = chosen.aquila_record
    if record is not None:
        if record not in ("missing", "all", "pending"):
            raise pytest.UsageError(f"--aquila-record={record}: give missing, all or pending, not {record!r}")
        if options["transport"] not in (None, "record"):
            raise pytest.UsageError(
                f"--aquila-record and --aquila-transport={options['transport']} contradict each other; "
                "to record from it, use --aquila-upstream"
            )
        options |= {"transport": "record", "record": record}
    return {name: value for name, value in options.items() if value is not None}


def replaces_recorder(pytest_config: pytest.Config) -> bool:
    """Whether the ini file asks for a layer that stands in for another recorder's plugin."""
    for key in REPLACED_RECORDERS:
        try:
            if pytest_config.getini(key):
                return True
        except (
            ValueError,
            pytest.UsageError,
        ) as error:  # depends on the version; neither names the key
            source = settings_file(pytest_config) or "ini file"
            raise pytest.UsageError(f"{source}: {key}: {error}; write true or false") from error
    return False


def settings_file(pytest_config: pytest.Config) -> str:
    """Return the name of the file that has pytest's settings; empty if there is none."""
    return pytest_config.inipath.name if pytest_config.inipath is not None else ""


def read_key(pytest_config: pytest.Config, key: str) -> str:
    """Return the text of a key from the settings file or ``-o``: a list as lines. Empty if the key is not set.

    In TOML several values may be a list or one text, but there ``getini`` accepts only one type for each key.
    """
    given = _given_keys(pytest_config)
    found = pytest_config.getini(key) if given is None else given[key].value if key in given else None
    return "\n".join(map(str, found)) if isinstance(found, list) else "" if found is None else str(found)


def _given_keys(pytest_config: pytest.Config) -> Mapping[str, Any] | None:
    """Return what the settings file and ``-o`` give, by key; None before pytest 9.0.2. It is private to pytest."""
    return getattr(pytest_config, "_inicfg", None)


_ini_settings: pytest.StashKey[dict[str, str]] = pytest.StashKey()


def ini_settings(pytest_config: pytest.Config) -> dict[str, str]:
    """Return the settings that the ini file gives. They are read once for each configuration, as pytest does too."""
    if _ini_settings not in pytest_config.stash:
        pytest_config.stash[_ini_settings] = _read_ini_settings(pytest_config)
    return pytest_config.stash[_ini_settings]


def _read_ini_settings(pytest_config: pytest.Config) -> dict[str, str]:
    # An older pytest is asked for each key, which takes as long as loading a module.
    given = _given_keys(pytest_config)
    named = [row[0] for row in OPTION_ROWS if row[3]]
    if given is not None:
        named = [name for name in named if f"aquila_{name}" in given]
    values = {name: read_key(pytest_config, f"aquila_{name}") for name in named}
    if replaces_recorder(pytest_config):
        # Under the other recorder an unset key stayed unset, and such a suite may decide by it whether to record.
        values["dummy_keys"] = f"{provider_keys.NO_UNSET} {values.get('dummy_keys', '')}"
    return {name: value for name, value in values.items() if value}


def is_to_be_sealed(pytest_config: pytest.Config) -> bool:
    """Whether the environment or the ini file asks for a sealed run. It works before the settings are in force."""
    # Before pytest has read its ini file, `getini` would find nothing, and would remember that for the whole run.
    if not hasattr(pytest_config, "known_args_namespace"):
        return False
    return (os.environ.get("AQUILA_GUARD") or read_key(pytest_config, "aquila_guard")) == "sealed"
