"""Which requests are Aquila's own: what a live or recording transport sends out must not be caught again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_permitted: ContextVar[bool] = ContextVar("aquila_permitted", default=False)
_hosts: Counter[str] = Counter()
_lock = threading.Lock()


@contextmanager
def permitted(host: str) -> Iterator[None]:
    """Let the requests of this context out, until the block ends. ``host`` is where they go.

    Names are resolved in threads that know nothing of the context, so the host is noted for the whole process too.
    """
    before = _permitted.get()
    _permitted.set(True)
    with _lock:
        _hosts[host] += 1
    try:
        yield
    finally:
        _permitted.set(before)
        with _lock:
            _hosts[host] -= 1
            if not _hosts[host]:
                del _hosts[host]


def is_permitted(host: str | None = None) -> bool:
    """Whether a request of this context may go out; with ``host``, also whether any is on its way there."""
    return _permitted.get() or (host is not None and host in _hosts)
