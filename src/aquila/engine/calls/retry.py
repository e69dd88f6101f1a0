"""Decides whether a failed request is sent again, and after how long, by the rules of the openai SDK.

The SDK's retries are off (``max_retries=0``) and done here, so that telemetry sees them, an idle timeout is not
multiplied by them, and the asynchronous driver waits without blocking.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from aquila.errors import AquilaError, ConnectionFailed, ProviderError, RequestTimeout
from aquila.transports.requested_delay import LONGEST_DELAY, read_requested_delay

TOO_BUSY = frozenset({429, 503, 529})
"""Statuses of an overloaded provider: too many requests, unavailable, and Anthropic's own ``overloaded_error``."""

# The SDK's INITIAL_RETRY_DELAY and MAX_RETRY_DELAY, in seconds.
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
# Of the system: ``random.seed()`` in a test must not change the delays, nor the delays the test's numbers. A copy of
# another generator would give all workers that are forked from one process the same delays.
_jitter = random.SystemRandom()


def delay_before_retry(attempt: int, error: BaseException, headers: Mapping[str, str], *, limit: int) -> float | None:
    """Return the seconds to wait before retry number ``attempt`` (from 1), or None if the error is final.

    ``error`` is the translated error of a request whose answer had not begun, ``headers`` those of the answer that
    refused it, ``limit`` the greatest number of retries.
    """
    if attempt > limit or not isinstance(error, AquilaError) or not _is_retryable(error, headers):
        return None
    asked = read_requested_delay(headers)
    if asked is None and isinstance(error, ProviderError):
        asked = error.retry_after
    # As the SDK does: an error that asks for more than two minutes is final.
    if asked is not None and asked > LONGEST_DELAY:
        return None
    if asked is not None and asked > 0:
        return asked
    delay = min(_FIRST_BACKOFF * 2.0 ** min(attempt - 1, 10), _LONGEST_BACKOFF)
    return delay * (1 - 0.25 * _jitter.random())


def asks_for_longer_wait(error: BaseException, longest_wait: float) -> bool:
    """Return whether an overloaded provider asks for a delay above ``longest_wait`` seconds."""
    if not isinstance(error, ProviderError) or error.status not in TOO_BUSY:
        return False
    return error.retry_after is not None and error.retry_after > longest_wait


def _is_retryable(error: AquilaError, headers: Mapping[str, str]) -> bool:
    # OpenAI's own header, which the SDK obeys before it looks at the status.
    decision = headers.get("x-should-retry")
    if decision in ("true", "false"):
        return decision == "true"
    if isinstance(error, (ConnectionFailed, RequestTimeout)):
        return True
    if not isinstance(error, ProviderError) or error.status is None:
        return False
    return error.status in (408, 409, 429) or error.status >= 500
