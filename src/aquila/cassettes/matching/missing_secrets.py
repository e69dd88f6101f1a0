"""Finds values that were secrets when a request was recorded, and are none now: a key of a tool that is not set here.

A replay gives dummies to the variables of known providers alone. What else a program reads is its own affair.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.difference import Difference, clip_around
from aquila.cassettes.redaction.found_secrets import PLACEHOLDER, without_numbers
from aquila.typed_settings import place_of_settings, setting_line

_LONGEST_PATH = 60  # characters of a path that is shown


def find_missing_secret(found: Sequence[Difference]) -> str | None:
    """Return the place of the first value that was recorded as a secret, and is none now; None if there is none."""
    return next((each.path for each in found if _is_secret(each.recorded) and not _is_secret(each.now)), None)


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and without_numbers(value) == PLACEHOLDER.decode()


def write_secret_remark(path: str, settings_file: str) -> Iterator[str]:
    """Yield a remark that a secret is missing. ``settings_file`` is as for ``cures.write_advice``."""
    place = clip_around(path, len(path), _LONGEST_PATH)
    yield ""
    yield from textwrap.wrap(
        f"A secret was recorded in {place}, and there is none now. If it comes from a variable of the environment that "
        f"is not set here, name that variable in {place_of_settings(settings_file)}, and a replay gives it a dummy:",
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield ""
    yield "  " + setting_line("dummy_keys", "NAME_OF_THE_VARIABLE", settings_file)
