"""Keys by which a provider recognises a request of a retry, or of a task that was delivered again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aquila.huey.tasks.running_task import current_task

HEADER = "Idempotency-Key"
_LEFT_OUT = frozenset({"metadata"})
"""Fields that say for whom a request is made, and by which attempt."""


class RequestNumbers:
    """Numbers the equal requests of one execution, so that the n-th of them has the same key in every execution."""

    def __init__(self) -> None:
        # Owned by the gate of one execution of a task, and gone with it: a later execution must count from 0 again.
        self._seen: Counter[str] = Counter()
        self._known: dict[tuple[str, str], int] = {}
        # The calls of one task may run in several threads.
        # fork: belongs to one execution, which goes on only in the parent
        self._lock = threading.Lock()

    def number_of(self, call: str, content: str) -> int:
        """Return how many other calls have sent an equal request before this one, from 0.

        ``call`` is the id of the call, ``content`` a digest of the request. A call that sends the same content again
        retries it, and gets the same number.
        """
        with self._lock:
            if (call, content) not in self._known:
                self._known[call, content] = self._seen[content]
                self._seen[content] += 1
            return self._known[call, content]


def key_of_request(task_id: str, numbers: RequestNumbers, call: str, body: Mapping[str, Any]) -> str:
    """Return the key of a request of a task, of 40 hexadecimal digits.

    The key depends on the id of the task, on ``body``, and on how many equal requests came before. It does not depend
    on anything that differs from one attempt of the task to the next.
    """
    content = {name: value for name, value in body.items() if name not in _LEFT_OUT}
    digest = digest_of_request(content)
    return _digest(f"{task_id}\0{digest}\0{numbers.number_of(call, digest)}")


def idempotency_key(*parts: str | int) -> str:
    """Return a key for a request of another client. It is the same in every attempt of the task that is executing.

    ``parts`` tell the requests of one task apart: give each request different parts. Returns 40 hexadecimal digits.
    Raises ``ConfigError`` outside of a task.
    """
    return _digest(json.dumps([current_task().id, *map(str, parts)]))


def digest_of_request(content: Any) -> str:
    """Return a digest of 40 hexadecimal digits, the same for requests that differ only in the order of their keys."""
    try:
        text = json.dumps(content, sort_keys=True, default=_as_text)
    except TypeError:  # Numbers beside texts as keys, as in `logit_bias`, cannot be sorted. In JSON all are texts.
        text = json.dumps(json.loads(json.dumps(content, default=_as_text)), sort_keys=True)
    return _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _as_text(value: Any) -> str:
    # Never by `repr`: that may hold an address, and then the key would differ in each attempt.
    data = value if isinstance(value, (bytes, bytearray)) else None
    return hashlib.sha256(data).hexdigest() if data is not None else type(value).__name__
