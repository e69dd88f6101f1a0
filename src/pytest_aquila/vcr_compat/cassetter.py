"""The plugin that replaces cassetter's, with its fixtures, marks and options."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila import vcr
    from aquila.vcr import ignored_options
    from pytest_aquila import node_ids, scope_starts
    from pytest_aquila.vcr_compat import cassetter_config, cassetter_objects, cassettes
    from pytest_aquila.vcr_compat.cassetter_objects import CassetterCassette
else:
    lazy_modules(
        globals(),
        "aquila: vcr",
        "aquila.vcr: ignored_options",
        "pytest_aquila: node_ids, scope_starts",
        "pytest_aquila.vcr_compat: cassetter_config, cassetter_objects, cassettes",
    )

RECORD_MODES = ("none", "new_episodes", "all", "once", "rewrite", "verify")
_ANEW = ("all", "rewrite")
"""Modes that replace the recordings of a cassette."""
_INI = {
    "vcr_max_age": "max_age",
    "vcr_on_expiry": "on_expiry",
    "vcr_on_unplayed": "on_unplayed",
}
"""The ini keys of cassetter, each with the option whose default it sets."""


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and ini keys of cassetter."""
    group = parser.getgroup("aquila")
    group.addoption("--record-mode", choices=RECORD_MODES, default=None, help="As in cassetter.")
    group.addoption("--vcr-check-orphans", default=None, metavar="DIR", help="See --aquila-orphans.")
    for name in _INI:
        parser.addini(name, "as in cassetter", default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for line in (
        "vcr(cassette_name=None, **options): this test uses a cassette, as in cassetter",
        "default_cassette(name): the name of its cassette",
    ):
        config.addinivalue_line("markers", line)


@pytest.fixture(scope="module")
def vcr_config() -> dict[str, Any]:
    """The configuration; override it as in cassetter."""
    return {}


@pytest.fixture(scope="module")
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    """The folder of a module's cassettes."""
    return cassettes.folder_of_module(request.path)


@pytest.fixture(autouse=True)
def cassette(request: pytest.FixtureRequest) -> CassetterCassette | None:
    """The cassette of a test that is marked, else None."""
    marker = request.node.get_closest_marker("vcr")
    if marker is None:
        return None
    folder = str(request.getfixturevalue("vcr_cassette_dir"))
    return _open_cassette(request.node, marker, request.getfixturevalue("vcr_config"), folder)


@pytest.fixture(name="vcr")
def vcr_of_cassetter(cassette: CassetterCassette | None) -> CassetterCassette | None:
    """The fixture ``cassette`` by pytest-recording's name."""
    return cassette


def _open_cassette(item: pytest.Item, marker: pytest.Mark, config: Any, folder: str) -> CassetterCassette:
    if unknown := sorted(marker.kwargs.keys() - cassetter_config.OF_MARKS):
        raise TypeError(f"unsupported @pytest.mark.vcr options: {', '.join(unknown)}")
    options = _defaults_of(item.config) | cassetter_config.options_of(config) | dict(marker.kwargs)
    for name in sorted(options.keys() & cassetter_config.MEANINGLESS):
        ignored_options.note_once(f"cassetter: {name} has no effect")
    if options.get("on_expiry") == "rerecord":
        ignored_options.note_once(
            "cassetter: on_expiry=rerecord has no effect: pytest --aquila-record makes anew what is old"
        )
    if item.config.getoption("--vcr-check-orphans"):
        ignored_options.note_once("cassetter: --vcr-check-orphans has no effect: run with --aquila-orphans")
    mode = _mode_of(item.config.getoption("--record-mode") or options.get("record_mode") or "none")
    recorder = vcr.VCR(record_mode=vcr.mode.NONE if mode == "verify" else "all" if mode in _ANEW else mode)
    asked = cassetter_config.recorder_options(options)
    if options.get("uri_normalizer"):
        recorder.register_matcher("uri", cassetter_config.compare_normalized(options["uri_normalizer"]))
    asked["match_on"] += cassetter_config.additional_matchers(options)
    if runtime.current_run().layers.gives("match_on") and options.keys().isdisjoint(cassetter_config.COMPARING):
        del asked["match_on"]
    plan = recorder.plan_cassette(
        options={**asked, "path": _path_of(item, marker, options, folder)}, rewrites=mode in _ANEW
    )
    # As in cassetter, the hook for responses is called for a new recording only, and not for one that is played.
    plan = dataclasses.replace(plan, filters=dataclasses.replace(plan.filters, changes_recorded=False))
    scope = scope_starts.scope_of(item)
    source = f"{node_ids.id_of(item)}: vcr_config"
    settings, replays = cassetter_config.settings_of(options), plan.settings.get("transport") == "replay"
    if replays:
        settings["repeat"] = "last"
    # A named cassette may be shared with other tests, so recording must not remove its other recordings. A replay
    # removes nothing, so there it counts as owned, and all its recordings must be played.
    named = bool(marker.args) or item.get_closest_marker("default_cassette") is not None
    plan.apply_to(scope, owned=replays or not named, source=source)
    scope.override_settings(settings, source=source)
    return cassetter_objects.CassetterCassette(scope, plan)


def _defaults_of(config: pytest.Config) -> dict[str, Any]:
    found = {option: config.getini(name) for name, option in _INI.items()}
    return {option: value for option, value in found.items() if value}


def _mode_of(given: Any) -> str:
    """Return the record mode, given by name or as ``cassetter.RecordMode``. Raises ``ValueError`` for others."""
    mode = str(getattr(given, "name", given)).lower().replace("-", "_")
    if mode not in RECORD_MODES:
        raise ValueError(f"unknown record mode: {given!r}, expected one of {list(RECORD_MODES)}")
    if mode == "verify":
        ignored_options.note_once(
            "cassetter: the mode verify replays here; to ask the provider again: pytest --aquila-verify"
        )
    return mode


def _path_of(item: pytest.Item, marker: pytest.Mark, options: Mapping[str, Any], folder: str) -> Path:
    where = Path(folder)
    if "cassette_dir" in marker.kwargs:
        where = Path(item.path.parent, marker.kwargs["cassette_dir"], item.path.stem)
    elif options.get("cassette_library_dir"):
        where = Path(os.fspath(options["cassette_library_dir"]))
    if marker.args:
        return where / str(marker.args[0])
    marked = cassettes.marked_name_of(item)
    if marked is not None:
        return where / marked
    raw = where / f"{cassettes.whole_name_of(item).replace('/', '-')}.yaml"
    clean = where / f"{cassettes.name_of_test(item)}.yaml"
    return raw if raw.exists() and not clean.exists() else clean
