"""The plugin that replaces pytest-recording, with its fixtures and the hooks that they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila.vcr_compat import marks_and_options

if TYPE_CHECKING:
    from aquila.vcr import Cassette
    from pytest_aquila import node_ids, scope_starts
    from pytest_aquila.vcr_compat import cassettes
else:
    lazy_modules(globals(), "pytest_aquila: node_ids, scope_starts", "pytest_aquila.vcr_compat: cassettes")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for line in marks_and_options.MARKERS:
        config.addinivalue_line("markers", line)


@pytest.fixture(scope="session")
def record_mode(request: pytest.FixtureRequest) -> str:
    """The record mode of the run."""
    return request.config.getoption("--record-mode") or "none"


@pytest.fixture(scope="session")
def disable_recording(request: pytest.FixtureRequest) -> bool:
    """Whether the run is live, without cassettes."""
    return bool(request.config.getoption("--disable-recording"))


@pytest.fixture
def vcr_config() -> dict[str, Any]:
    """The configuration; override it as in pytest-recording."""
    return {}


@pytest.fixture(scope="module")
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    """The folder of a module's cassettes."""
    return cassettes.folder_of_module(request.path)


@pytest.fixture
def default_cassette_name(request: pytest.FixtureRequest) -> str:
    """The name of a test's cassette."""
    return cassettes.name_of_test(request.node)


@pytest.fixture
def vcr_markers(request: pytest.FixtureRequest) -> list[pytest.Mark]:
    """The markers ``vcr`` of a test, the closest first."""
    return list(request.node.iter_markers("vcr"))


@pytest.fixture
def allowed_hosts(request: pytest.FixtureRequest) -> list[str]:
    """The patterns of hosts that are let through where the network is blocked."""
    return list(marks_and_options.find_allowed_hosts(request.node, request.getfixturevalue("vcr_config")))


@pytest.fixture(autouse=True)
def block_network(request: pytest.FixtureRequest, vcr_markers: list[pytest.Mark], record_mode: str) -> None:
    """Block the network if a mark or an option says so, but not for a test that records."""
    item = request.node
    if not marks_and_options.is_blocked(item):
        return
    if vcr_markers:
        merged = marks_and_options.merge_config(request.getfixturevalue("vcr_config"), vcr_markers)
        if not marks_and_options.is_blocked_with_cassette(item, merged, record_mode):
            return
    scope = scope_starts.scope_of(item)
    if scope.settings.guard != "sealed":
        scope.override_settings({"guard": "all"}, source=f"{node_ids.id_of(item)}: block_network")
    hosts = marks_and_options.match_hosts(request.getfixturevalue("allowed_hosts") or ())  # a suite's own may give None
    scope.let_through(hosts, marks_and_options.explain_block(item))


@pytest.fixture(autouse=True)
def vcr(
    request: pytest.FixtureRequest,
    vcr_markers: list[pytest.Mark],
    record_mode: str,
    disable_recording: bool,
) -> Cassette | None:
    """The cassette of a test that is marked, else None."""
    if disable_recording:
        if not marks_and_options.is_blocked(request.node):
            scope_starts.scope_of(request.node).override_settings({"transport": "live"}, source="--disable-recording")
        return None
    if not vcr_markers:
        return None
    return cassettes.open_cassette(
        request.node,
        name=request.getfixturevalue("default_cassette_name"),
        folder=str(request.getfixturevalue("vcr_cassette_dir")),
        config=request.getfixturevalue("vcr_config"),
        markers=vcr_markers,
        record_mode=record_mode,
    )
