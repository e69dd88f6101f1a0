"""The cassette of a marked test: its file, and its use by ``aquila.vcr``."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila.vcr_compat import marks_and_options

if TYPE_CHECKING:
    from aquila import vcr
    from pytest_aquila import node_ids, scope_starts
else:
    lazy_modules(globals(), "aquila: vcr", "pytest_aquila: node_ids, scope_starts")

_LONGEST = 255
"""The longest file name in characters, by pytest-recording's rule."""
_FORBIDDEN = str.maketrans(dict.fromkeys("<>?%*:|\"'/\\", "-"))


def marked_name_of(item: pytest.Item) -> str | None:
    """Return the cassette that the mark ``default_cassette`` names, or None. Raises ``UsageError`` if it names none."""
    marker = item.get_closest_marker("default_cassette")
    if marker is None:
        return None
    if not marker.args:
        raise pytest.UsageError(
            f"{node_ids.id_of(item)}: give the name of the cassette to @pytest.mark.default_cassette"
        )
    return str(marker.args[0])


def name_of_test(item: pytest.Item) -> str:
    """Return the name of a test's cassette, as pytest-recording makes it."""
    marked = marked_name_of(item)
    return whole_name_of(item).translate(_FORBIDDEN) if marked is None else marked


def whole_name_of(item: pytest.Item) -> str:
    """Return the name of a test with that of its class."""
    owner = getattr(item, "cls", None)
    return item.name if owner is None else f"{owner.__name__}.{item.name}"


def open_cassette(
    item: pytest.Item,
    *,
    name: str,
    folder: str,
    config: Mapping[str, Any],
    markers: Sequence[pytest.Mark],
    record_mode: str,
) -> vcr.Cassette:
    """Let a test use its cassette, and return the cassette.

    ``name`` is that of its file in ``folder``. ``config`` is the configuration of its fixtures and ``record_mode`` that
    of the run; ``markers`` are its own, the closest first. Raises what vcrpy raises for options that are wrong.
    """
    merged = marks_and_options.merge_config(config, markers)
    suffix = f".{merged.get('serializer', 'yaml')}"
    mode = merged.get("record_mode", record_mode)
    rewrites = mode == marks_and_options.REWRITE
    mode = "all" if rewrites else mode
    if "record_mode" in merged:
        merged["record_mode"] = mode
    recorder = vcr.VCR(
        path_transformer=vcr.VCR.ensure_suffix(suffix),
        cassette_library_dir=folder,
        record_mode=mode,
    )
    item.config.hook.pytest_recording_configure(config=item.config, vcr=recorder)
    extra = [Path(folder, path) for marker in markers for path in marker.args]
    plan = recorder.plan_cassette(
        options={**merged, "path": _shorten(name, suffix)},
        extra=list(dict.fromkeys(extra)),
        rewrites=rewrites,
        is_blocked=marks_and_options.is_blocked_with_cassette(item, merged, record_mode),
    )
    scope = scope_starts.scope_of(item)
    # A cassette that a mark or a fixture names may be shared with other tests.
    owned = item.get_closest_marker("default_cassette") is None and name == name_of_test(item)
    plan.apply_to(scope, owned=owned, source=f"{node_ids.id_of(item)}: vcr_config")
    cassette = vcr.Cassette(scope, plan)
    if "pyfakefs" in sys.modules:
        # Reads the file now, as vcrpy does. At the first request the false files of the test would be in force.
        len(cassette)
    return cassette


def _shorten(name: str, suffix: str) -> str:
    """Return a name short enough for its suffix, cut as pytest-recording does, whose files must be found."""
    if len(name) + len(suffix) <= _LONGEST:
        return name
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return f"{name[: _LONGEST - len(suffix) - len(digest) - 3]}...{digest}"


def folder_of_module(path: os.PathLike[str]) -> str:
    """Return the folder of the cassettes of a module."""
    module = Path(path)
    return str(module.parent / "cassettes" / module.stem)
