"""Finds requests that differ only in words with digits in their texts: numbers, such as a duration, and short ids.

No setting is made of them: a number in a prompt may as well have been changed by somebody.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.cures import CHOSEN
from aquila.cassettes.matching.difference import Difference, clip_around
from aquila.typed_settings import setting_line

_LONGEST = 200_000  # characters of all texts that are compared
_LONGEST_PATH = 60  # characters of a path that is shown
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?!\w)|\b\w*\d\w*")


def find_changing_numbers(found: Sequence[Difference]) -> str | None:
    """Return the first place of texts that differ in nothing but words with digits. None if something else differs."""
    room = _LONGEST
    for each in found:
        if not (each.in_body and isinstance(each.recorded, str) and isinstance(each.now, str)):
            return None
        room -= len(each.recorded) + len(each.now)
        if room < 0 or CHOSEN.search(each.path):
            return None
        if _NUMBER.sub("0", each.recorded) != _NUMBER.sub("0", each.now):
            return None
    return found[0].path if found else None


def write_number_remark(path: str, settings_file: str) -> Iterator[str]:
    """Yield a remark that only words with digits differ. ``settings_file`` is as for ``cures.write_advice``."""
    yield ""
    place = clip_around(path, len(path), _LONGEST_PATH)
    yield from textwrap.wrap(
        f"Only numbers and words with digits differ in {place}. If they are new in every run, as a duration or a "
        "process id, recording again is not enough: leave them out of the request, or write a pattern that finds them, "
        "for example " + setting_line("normalize", r"/took [\d.]+ s/", settings_file),
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )
