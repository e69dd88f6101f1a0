"""What runs now, and who wants to know. A module of its own, so that a test run can say so without loading more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

opener: Callable[[], Any] | None = None
"""Opens (or returns) the scope of the running test. Set by the pytest plugin while a test runs."""

test: str | None = None
"""The id of the running test, for messages."""


# What redactors look for besides the secrets in the environment. In memory alone, and never shown.

machine: Mapping[str, str] = {}
"""The environment as it was when the run began. Applications keep keys that they read from it at import."""

hidden: Mapping[str, str] = {}
"""The variables of which a dummy key has taken the place, with their real values."""

fingerprints: Sequence[str] = ()
"""Of keys that are hidden in the parent process; see ``aquila.cassettes.redaction.fingerprints``."""


class ScopeWatcher(Protocol):
    """Is told when scopes that surround other code open, change and close."""

    def scope_opened(self, scope: Any) -> None:
        """A scope is open, or its cassette or its settings have changed."""

    def scope_suspended(self, scope: Any) -> None:
        """A scope surrounds nothing until it is open again. What it has started goes on."""

    def scope_closed(self, scope: Any) -> None:
        """A scope is no longer open."""


watchers: list[ScopeWatcher] = []
"""Those who are told. Opening a scope costs nothing more while there are none."""
