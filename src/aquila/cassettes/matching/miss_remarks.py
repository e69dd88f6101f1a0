"""Says what may have made a request differ from a recording, where no setting makes the two match.

A secret that was recorded and is not there now, another form of Unicode, another order, or other numbers. No setting is
advised for an order or for numbers, because somebody may have changed them on purpose.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.cures import CHOSEN
from aquila.cassettes.matching.difference import ABSENT, Difference, clip_path, dump_json
from aquila.cassettes.matching.json_path import with_any_index
from aquila.cassettes.redaction.found_secrets import PLACEHOLDER, PLACEHOLDER_IN_URL, without_numbers
from aquila.setting_lines import place_of_settings, setting_line

_LONGEST = 200_000  # characters of all texts that are compared
_WORD = re.compile(r"\d+(?:[.:]\d+)+|\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?!\w)|\b\w*\d\w*")


def write_cause(found: Sequence[Difference], settings_file: str) -> Iterator[str]:
    """Yield lines that name a likely cause of these differences; none if no cause is known.

    ``settings_file`` is as for ``cures.write_advice``.
    """
    if (missing := _find_missing_secret(found)) is not None:
        yield from _write_secret_remark(missing, settings_file)
    elif found and all(map(_differs_in_form, found)):
        yield from _write_form_remark(clip_path(found[0].path))
    elif (path := _find_reordered(found)) is not None:
        yield from _write_order_remark(clip_path(path))
    elif (path := _find_changing_numbers(found)) is not None:
        yield from _write_number_remark(clip_path(path), settings_file)


# --- a secret that is missing, such as the key of a tool that is not set here


def _find_missing_secret(found: Sequence[Difference]) -> Difference | None:
    """Return the first value that was a secret in the recording and is none now; None if there is none."""
    if any(each.path == "method" or (each.path == "path" and not _lacks_secret(each)) for each in found):
        return None  # another request altogether
    return next(filter(_lacks_secret, found), None)


def _lacks_secret(difference: Difference) -> bool:
    recorded, now = difference.recorded, difference.now
    if difference.path == "path":  # of a URL, of which a token may be a part, as in those of Telegram
        around = _split_at_secrets(recorded)
        return len(_split_at_secrets(now)) < len(around) and _fits_around_secrets(now, around)
    return _is_secret(recorded) and not _is_secret(now)


def _split_at_secrets(path: str) -> list[str]:
    return without_numbers(path).split(PLACEHOLDER_IN_URL.decode())


def _fits_around_secrets(path: str, around: Sequence[str]) -> bool:
    """Whether a path has these texts in their order, with something between each two. There are at least two."""
    first, *middle, last = around
    at = len(first)
    for text in middle:  # each where it is found first: a pattern with `.+` would try all places of all of them
        found = path.find(text, at + 1)
        if found < 0:
            return False
        at = found + len(text)
    return path.startswith(first) and path.endswith(last) and at < len(path) - len(last)


def is_secret_url(text: Any) -> bool:
    """Whether a URL, or its path, is a secret as a whole, such as that of a webhook."""
    return isinstance(text, str) and without_numbers(text) == PLACEHOLDER_IN_URL.decode()


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and without_numbers(value) == PLACEHOLDER.decode()


def _write_secret_remark(missing: Difference, settings_file: str) -> Iterator[str]:
    # The dummy for a whole URL is one that a client takes for a URL.
    whole = missing.path == "path" and is_secret_url(missing.recorded)
    value = "NAME_OF_THE_VARIABLE" + ("=https://webhook.example/dummy" if whole else "")
    place = "the URL" if whole else clip_path(missing.path)
    yield ""
    yield from textwrap.wrap(
        f"A secret was recorded in {place}, and there is none now. If it comes from a variable of "
        f"the environment that is not set here, name that variable in {place_of_settings(settings_file)}, and a replay "
        "gives it a dummy:",
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield ""
    yield "  " + setting_line("dummy_keys", value, settings_file)


# --- another form of Unicode: macOS gives an accent in the name of a file a character of its own


def _differs_in_form(difference: Difference) -> bool:
    texts = [each for each in (difference.recorded, difference.now) if isinstance(each, str)]
    return len(texts) == 2 and len({unicodedata.normalize("NFC", text) for text in texts}) == 1


def _write_form_remark(path: str) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(
        f"{path} has the same letters as the recording, which Unicode composes in another way, as in names of files on "
        'macOS. If that depends on the machine, recording again is not enough: unicodedata.normalize("NFC", text) '
        "before the request is made.",
        WIDTH,
    )


# --- another order: that of a set, or that in which threads finished


def _find_reordered(found: Sequence[Difference]) -> str | None:
    """Return the path of a value in another order. None if the requests differ in anything but an order.

    Elements of a list have one path, such as ``tools[*].name``.
    """
    room = _LONGEST
    elements: defaultdict[str, list[Difference]] = defaultdict(list)
    for each in found:
        room -= sum(len(value) for value in (each.recorded, each.now) if isinstance(value, str))
        if room < 0 or not each.in_body:
            return None
        if not _have_same_words(each.recorded, each.now):
            elements[with_any_index(each.path)].append(each)
    if not found or not all(map(_have_same_values, elements.values())):
        return None
    return next(iter(elements), found[0].path)


def _have_same_words(one: Any, other: Any) -> bool:
    """Whether two texts have the same words in another order."""
    if not (isinstance(one, str) and isinstance(other, str)):
        return False
    words, others = _WORD.findall(one), _WORD.findall(other)
    return words != others and sorted(words) == sorted(others)


def _have_same_values(differences: Sequence[Difference]) -> bool:
    recorded, now = (
        sorted("" if value is ABSENT else dump_json(value) for value in values)
        for values in zip(*((each.recorded, each.now) for each in differences), strict=True)
    )
    return recorded == now


def _write_order_remark(path: str) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(
        f"{path} holds the same as the recording, in another order. If that order is new in every run, as of a set or "
        "of what threads or tasks finish first, recording again is not enough: sort it before the request is made.",
        WIDTH,
    )


# --- other numbers, such as a duration, and other short ids


def _find_changing_numbers(found: Sequence[Difference]) -> str | None:
    """Return the path of the first text if all texts differ only in words with digits. None if anything else does."""
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


def _write_number_remark(path: str, settings_file: str) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(
        f"Only numbers and words with digits differ in {path}. If they are new in every run, as a duration or a "
        "process id, recording again is not enough: leave them out of the request, or write a pattern that finds them, "
        "for example " + setting_line("normalize", r"/took [\d.]+ s/", settings_file),
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )
