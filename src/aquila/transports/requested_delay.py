"""For how long an answer asks a client to wait before it tries again."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping

LONGEST_DELAY = 120.0
"""Seconds. The openai SDK does not try again if it is asked to wait longer, and neither do we."""


def read_requested_delay(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the header fields of an answer ask for, or None. Those of a date in the past are below 0.

    ``retry-after-ms`` comes first, then ``retry-after``: a number of seconds, or a date of HTTP.
    """
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        if not math.isnan(seconds):
            return seconds
    try:
        when = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return when.timestamp() - time.time()
