"""Keys by which a provider knows a request that is sent once more: by a retry, or by a task that is delivered again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aquila.huey.running_task import current_task

HEADER = "Idempotency-Key"
_LEFT_OUT = frozenset({"metadata"})
"""Fields that say for whom a request is made, and by which attempt."""


class RequestNumbers:
    """Tells equal requests of one execution apart: the n-th of them has the same key in every execution."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._known: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def number_of(self, call: str, content: str) -> int:
        """Return which of equal requests this one is. The same call sends the same request again as a retry."""
        with self._lock:
            if (call, content) not in self._known:
                self._known[call, content] = self._seen[content]
                self._seen[content] += 1
            return self._known[call, content]


def key_of_request(task_id: str, numbers: RequestNumbers, call: str, body: Mapping[str, Any]) -> str:
    """Return the key of a request of a task. It depends on what is asked, and on nothing that an attempt changes."""
    content = {name: value for name, value in body.items() if name not in _LEFT_OUT}
    digest = _digest(json.dumps(content, sort_keys=True, default=_as_text))
    return _digest(f"{task_id}\0{digest}\0{numbers.number_of(call, digest)}")


def idempotency_key(*parts: str | int) -> str:
    """Return a key for a request of another client, the same in every attempt of the task that is executing.

    ``parts`` tell the requests of the task apart. Raises ``ConfigError`` outside of a task.
    """
    return _digest(json.dumps([current_task().id, *map(str, parts)]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _as_text(value: Any) -> str:
    data = value if isinstance(value, (bytes, bytearray)) else None
    return hashlib.sha256(data).hexdigest() if data is not None else type(value).__name__
