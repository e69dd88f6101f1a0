"""Reads for how long an answer asks a client to wait before it retries."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping

LONGEST_DELAY = 120.0
"""Seconds. The openai SDK does not retry if it is asked to wait longer, and neither does Aquila."""

NO_DELAY = ("retry-after-ms", "1")
"""The header field by which a replay keeps a client from sleeping: one millisecond."""


def read_requested_delay(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds the header fields of an answer ask to wait, or None. A date in the past is below 0.

    ``retry-after-ms`` comes first, then ``retry-after``: a number of seconds, or an HTTP date. A date is compared with
    the field ``date`` of the answer if there is one: clocks differ, and a recording is older than its replay.
    """
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        if not math.isnan(seconds):
            return seconds
    when = _read_date(headers, "retry-after")
    if when is None:
        return None
    answered = _read_date(headers, "date")
    return when - (time.time() if answered is None else answered)


TOO_MANY = 429
"""The status for too many requests or tokens."""


def read_providers_delay(headers: Mapping[str, str], status: int | None) -> float | None:
    """Return for how many seconds the provider asks to wait, at least 0, or None. ``status`` is that of the answer.

    The advice that a replay adds (``NO_DELAY``) does not count. A 429 without ``retry-after`` may say when each rate
    limit is reset: OpenAI with ``x-ratelimit-reset-requests: 1s``, Anthropic with ``anthropic-ratelimit-tokens-reset``
    and a time. Then the latest reset of the limits that are used up counts. If no limit is used up, too little is left
    of one of them, and the latest reset of all counts.
    """
    name, _ = NO_DELAY
    own = {each: given for each, given in headers.items() if (each, given) != NO_DELAY}
    resets = list(_read_resets(own)) if status == TOO_MANY and not own.keys() & {name, "retry-after"} else []
    if resets:
        used_up = [seconds for seconds, is_used_up in resets if is_used_up]
        return max(0.0, *(used_up or [seconds for seconds, _ in resets]))
    seconds = read_requested_delay(own)
    return None if seconds is None or math.isinf(seconds) else max(0.0, seconds)


_OPENAI_RESET = re.compile(r"x-ratelimit-reset-(.+)")
_ANTHROPIC_RESET = re.compile(r"anthropic-ratelimit-(.+)-reset")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_UNITS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_LONGEST_FIELD = 64


def _read_resets(headers: Mapping[str, str]) -> Iterator[tuple[float, bool]]:
    """Yield for each rate limit the seconds until it is reset, and whether it is used up now."""
    for name, value in headers.items():
        if len(value) > _LONGEST_FIELD:
            continue
        if found := _OPENAI_RESET.fullmatch(name):
            seconds, left = _read_duration(value), headers.get(f"x-ratelimit-remaining-{found[1]}")
        elif found := _ANTHROPIC_RESET.fullmatch(name):
            seconds, left = _read_moment(value, headers), headers.get(f"anthropic-ratelimit-{found[1]}-remaining")
        else:
            continue
        if seconds is not None:
            yield seconds, left is not None and left.strip() == "0"


def _read_duration(text: str) -> float | None:
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    return sum(float(number) * unit for number, unit in zip(found.groups(), _UNITS, strict=True) if number)


def _read_moment(text: str, headers: Mapping[str, str]) -> float | None:
    try:
        when = datetime.datetime.fromisoformat(text.strip())
        seconds = when.timestamp() if when.tzinfo is not None else math.nan
    except (ValueError, OverflowError):
        return None
    answered = _read_date(headers, "date")
    return None if math.isnan(seconds) else seconds - (time.time() if answered is None else answered)


def _read_date(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(headers[name]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
