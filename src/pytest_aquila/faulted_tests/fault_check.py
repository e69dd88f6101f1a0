"""Checks the faults in the markers of a test before it runs, because a wrong fault must not let the test pass."""

from __future__ import annotations

import pytest

from aquila.cassettes.storage import cassette_files, names
from aquila.errors import ConfigError
from aquila.faults import fault as faults
from aquila.faults import parsing
from aquila.recording import runtime
from pytest_aquila import node_ids, test_scopes


def check_faults(item: pytest.Item, cassette: str | None, text: str) -> None:
    """Read the faults in the markers of a test. Raises ``ConfigError`` for unknown faults and for impossible ones.

    ``cassette`` is the one that the markers name, or None. ``text`` has the faults.
    """
    try:
        for fault in parsing.read_faults(text):
            _check_fault(item, cassette, fault)
    except ConfigError as error:
        raise ConfigError(f"{node_ids.id_of(item)}: {error}") from None


def _check_fault(item: pytest.Item, cassette: str | None, fault: faults.Fault) -> None:
    """Raise ``ImpossibleFault`` if no answer in the test's cassette can have the fault. It may have no file yet."""
    if cassette is None:
        cassette = node_ids.own_cassette_name(item, node_ids.id_of(item))
    path = names.cassette_path(runtime.current_settings().cassette_root(), cassette)
    if names.is_script(path) or not path.exists() or test_scopes.uses_script_fixture(item):
        return
    error: faults.ImpossibleFault | None = None
    for interaction in cassette_files.load_cassette(path).interactions:
        try:
            fault.change(interaction)
            return
        except faults.ImpossibleFault as impossible:
            error = impossible
    if error is not None:
        raise error
