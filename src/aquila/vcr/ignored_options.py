"""Notes about options of vcrpy that have no effect here. Each note is shown once, and causes no failure."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from typing import Any

from aquila.recording import runtime

MEANINGLESS: Mapping[str, str] = {
    "custom_patches": "clients are caught closer to the network; see docs/any-client.md",
    "skip_patchers": "clients are caught closer to the network; see docs/any-client.md",
}
"""Options of vcrpy without an effect, each with what Aquila does instead."""


def note_meaningless(options: Mapping[str, Any], known: Container[str]) -> None:
    """Note the ``options`` that have no effect here, and those that are not ``known``."""
    for name, value in options.items():
        if name in MEANINGLESS and value:
            note_once(f"vcr: {name} has no effect: {MEANINGLESS[name]}")
        elif name not in known:
            note_once(f"vcr: {name} has no effect: neither vcrpy nor Aquila knows it")


def note_serializer(name: str) -> None:
    """Note that a serializer of the program's own does not write cassettes."""
    if name not in ("yaml", "json"):
        note_once(
            f"vcr: the serializer {name} has no effect beyond reading: cassettes are written in Aquila's own format"
        )


def note_reading_only(method: str) -> None:
    """Note that a ``method`` of vcrpy affects only how files are read."""
    note_once(f"vcr: {method} has no effect beyond reading: cassettes are written in Aquila's own format")


def note_match_on() -> None:
    """Note that the ini key ``aquila_match_on`` has no effect on a cassette whose options say what is compared."""
    note_once(
        "vcr: aquila_match_on has no effect on cassettes whose own options say what is compared (match_on, "
        "additional_matchers, ...): take these out of vcr_config, marks and recorders where it is to hold"
    )


def note_unheeded(settings: Sequence[str]) -> None:
    """Note settings that have no effect on a cassette whose requests are compared by calling vcrpy's matchers."""
    names = " and ".join(f"aquila_{name}" for name in settings)
    note_once(
        f"vcr: {names}: no effect where match_on has a matcher of your own, or only one of host and port: change "
        "match_on, or leave fields out in before_record_request"
    )


def note_once(sentence: str) -> None:
    """Add a sentence to the end of the test run, once; outside of a test run, log it."""
    # The notes belong to the run. It prints them at its end, and they go with it.
    notes = runtime.current_run().notes
    if (sentence, "") not in notes:
        notes[sentence, ""] = None
        if not runtime.is_under_pytest():
            logging.getLogger("aquila").warning("%s", sentence)
