"""A check, before any test runs, of the faults that tests name: a wrong one must not give a passing test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from aquila.errors import AquilaError
from aquila.lazy_imports import lazy_modules
from pytest_aquila import marker_options, options

if TYPE_CHECKING:
    from aquila.cassettes.storage import cassette_files, names
    from aquila.faults import fault as faults
    from aquila.faults import parsing
    from aquila.faults.fault import Fault
    from aquila.recording import runtime
    from pytest_aquila import node_ids, test_scopes
else:
    lazy_modules(
        globals(),
        cassette_files="aquila.cassettes.storage.cassette_files",
        faults="aquila.faults.fault",
        names="aquila.cassettes.storage.names",
        node_ids="pytest_aquila.node_ids",
        parsing="aquila.faults.parsing",
        runtime="aquila.recording.runtime",
        test_scopes="pytest_aquila.test_scopes",
    )


def check_faults(items: Sequence[pytest.Item]) -> None:
    """Read the faults in the markers of tests. Raises ``UsageError`` for unknown faults and for impossible ones."""
    mistakes = []
    for item in items:
        try:
            text = _named_faults(item)
            for fault in parsing.read_faults(text) if text is not None else ():
                _check_fault(item, fault)
        except AquilaError as error:
            mistakes.append(f"{item.nodeid}: {error}")
    if mistakes:
        raise pytest.UsageError("\n".join(mistakes))


def _named_faults(item: pytest.Item) -> str | None:
    if not any("faults" in marker.kwargs for marker in item.iter_markers(options.MARKER)):
        return None
    text: str | None = marker_options.options_of(item)[1].get("faults")
    return text


def _check_fault(item: pytest.Item, fault: Fault) -> None:
    """Raise ``ImpossibleFault`` if no answer in the test's cassette can have the fault.

    Without a cassette, do nothing.
    """
    cassette, _ = marker_options.options_of(item)
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
