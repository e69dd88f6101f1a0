"""How often a session was asked for what, in this process alone or together with others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Protocol


class RequestCounts(Protocol):
    """Counts the requests of several processes together, under labels that the caller makes up."""

    def count_request(self, label: str) -> int:
        """Count a request and return how many came before it."""

    def count_of(self, label: str) -> int:
        """Return how many requests were counted."""


class CountedRequests:
    """The requests of one session, whose lock guards this object, by their keys.

    ``prefix`` begins the labels under which they are counted together with other processes.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._counts: dict[str, int] = defaultdict(int)
        self._shared: RequestCounts | None = None

    @property
    def are_shared(self) -> bool:
        """Whether they are counted together with other processes."""
        return self._shared is not None

    def count_request(self, key: str) -> int:
        """Count a request and return how many came before it."""
        if self._shared is not None:
            return self._shared.count_request(self._prefix + key)
        asked = self._counts[key]
        self._counts[key] = asked + 1
        return asked

    def count_of(self, key: str) -> int:
        """Return how many requests were counted."""
        if self._shared is not None:
            return self._shared.count_of(self._prefix + key)
        return self._counts.get(key, 0)

    def rename_keys(self, renamed: Mapping[str, str]) -> None:
        """Count on under other keys. Several may become one."""
        counts, self._counts = self._counts, defaultdict(int)
        for key, asked in counts.items():
            self._counts[renamed.get(key, key)] += asked

    def share(self, counts: RequestCounts) -> None:
        """Count together with other processes from now on, and add what was counted so far."""
        for key, asked in self._counts.items():
            for _ in range(asked):
                counts.count_request(self._prefix + key)
        self._counts.clear()
        self._shared = counts
