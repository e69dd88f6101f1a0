"""What of vcrpy means nothing here: named once, and nothing fails for it."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from typing import Any

from aquila.recording import runtime

MEANINGLESS: Mapping[str, str] = {
    "custom_patches": "clients are caught closer to the network; see docs/any-client.md",
    "skip_patchers": "clients are caught closer to the network; see docs/any-client.md",
}
"""Options of vcrpy that have nothing to do here, each with what does it instead."""


def note_meaningless(options: Mapping[str, Any], known: Container[str]) -> None:
    """Name what of some options means nothing here, or is not among the ``known`` ones."""
    for name, value in options.items():
        if name in MEANINGLESS and value:
            note_once(f"vcr: {name} has no effect: {MEANINGLESS[name]}")
        elif name not in known:
            note_once(f"vcr: {name} has no effect: neither vcrpy nor Aquila knows it")


def note_serializer(name: str) -> None:
    """Name a serializer of the program's own that is to write cassettes."""
    if name not in ("yaml", "json"):
        note_once(
            f"vcr: the serializer {name} has no effect beyond reading: cassettes are written in Aquila's own format"
        )


def note_reading_only(method: str) -> None:
    """Name a method of vcrpy after which files are read, and never written."""
    note_once(f"vcr: {method} has no effect beyond reading: cassettes are written in Aquila's own format")


def note_once(sentence: str) -> None:
    """Say a sentence at the end of a test run, once. Outside of one, log it."""
    notes = runtime.current_run().notes
    if (sentence, "") not in notes:
        notes[sentence, ""] = None
        if not runtime.is_under_pytest():
            logging.getLogger("aquila").warning("%s", sentence)
