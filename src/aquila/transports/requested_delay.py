"""For how long an answer asks a client to wait before it tries again."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping

LONGEST_DELAY = 120.0
"""Seconds. The openai SDK does not try again if it is asked to wait longer, and neither do we."""

NO_DELAY = ("retry-after-ms", "1")
"""The header field with which a replay keeps a client from sleeping."""


def read_requested_delay(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the header fields of an answer ask for, or None. Those of a date in the past are below 0.

    ``retry-after-ms`` comes first, then ``retry-after``: a number of seconds, or a date of HTTP. That is compared with
    the provider's own date where the answer has one: clocks differ, and a recording is older than its replay.
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


def read_providers_delay(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the provider itself asks for, or None: in a replay too, which asks for none. Never less
    than 0.
    """
    name, value = NO_DELAY
    if headers.get(name) == value and "retry-after" in headers:
        headers = {each: given for each, given in headers.items() if each != name}
    seconds = read_requested_delay(headers)
    return None if seconds is None or math.isinf(seconds) else max(0.0, seconds)


def _read_date(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(headers[name]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
