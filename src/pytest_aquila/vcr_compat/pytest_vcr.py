"""The plugin that replaces pytest-vcr, with its fixtures, mark and options."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import vcr as aquila_vcr
    from pytest_aquila import node_ids, scope_starts
    from pytest_aquila.vcr_compat import cassettes
else:
    lazy_modules(
        globals(),
        "aquila: vcr as aquila_vcr",
        "pytest_aquila: node_ids, scope_starts",
        "pytest_aquila.vcr_compat: cassettes",
    )

RECORD_MODES = ("once", "new_episodes", "none", "all")


def add_options(parser: pytest.Parser) -> None:
    """Declare the options of pytest-vcr."""
    group = parser.getgroup("aquila")
    group.addoption("--vcr-record", "--vcr-record-mode", choices=RECORD_MODES, default=None, help="As in pytest-vcr.")
    group.addoption("--disable-vcr", action="store_true", help="Live, without cassettes.")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "vcr(**config): this test uses a cassette, as in pytest-vcr")


@pytest.fixture(scope="module")
def vcr_config() -> dict[str, Any]:
    """The configuration; override it as in pytest-vcr."""
    return {}


@pytest.fixture(scope="module")
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    """The folder of the cassettes of all modules in a folder."""
    return str(request.path.parent / "cassettes")


@pytest.fixture(scope="module")
def vcr(request: pytest.FixtureRequest, vcr_config: dict[str, Any], vcr_cassette_dir: str) -> aquila_vcr.VCR:
    """The recorder of a module; a suite may register matchers on it."""
    options = {
        "cassette_library_dir": os.fspath(vcr_cassette_dir),
        "path_transformer": aquila_vcr.VCR.ensure_suffix(".yaml"),
        **vcr_config,
        **_options_of(request.node),
    }
    recorder = aquila_vcr.VCR(**options)
    recorder.is_live = request.config.getoption("--disable-vcr")
    return recorder


@pytest.fixture
def vcr_cassette_name(request: pytest.FixtureRequest) -> str:
    """The name of a test's cassette."""
    return cassettes.whole_name_of(request.node)


@pytest.fixture
def vcr_cassette(request: pytest.FixtureRequest, vcr: aquila_vcr.VCR, vcr_cassette_name: str) -> aquila_vcr.Cassette:
    """The cassette of a test."""
    item = request.node
    plan = vcr.plan_cassette(options={**_options_of(item), "path": vcr_cassette_name})
    scope = scope_starts.scope_of(item)
    # A cassette that a fixture names may be shared with other tests.
    owned = vcr_cassette_name == cassettes.whole_name_of(item)
    plan.apply_to(scope, owned=owned, source=f"{node_ids.id_of(item)}: vcr_config")
    if item.config.getoption("--disable-vcr"):
        scope.override_settings({"transport": "live"}, source="--disable-vcr")
    return aquila_vcr.Cassette(scope, plan)


@pytest.fixture(autouse=True)
def _vcr_marker(request: pytest.FixtureRequest) -> None:
    """Open the cassette of a test that is marked."""
    if request.node.get_closest_marker("vcr") is not None:
        request.getfixturevalue("vcr_cassette")


def _options_of(node: pytest.Item | pytest.Module) -> dict[str, Any]:
    """Return the options of the closest mark of a test or module. The command line overrides its record mode."""
    marker = node.get_closest_marker("vcr")
    options = dict(marker.kwargs) if marker is not None else {}
    if mode := node.config.getoption("--vcr-record"):
        options["record_mode"] = mode
    return options
