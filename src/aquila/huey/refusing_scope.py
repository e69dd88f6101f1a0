"""A scope for tasks that nothing may answer. A module of its own, since it derives from what is imported lazily."""

from __future__ import annotations

from typing import NoReturn

from aquila.errors import CassetteRequired
from aquila.recording.scope import Scope


class RefusingScope(Scope):
    """Refuses every request that would go through a cassette, for a reason."""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(kind="task", name=task, default_cassette="none")
        self.refused = reason

    def session_for(self, cassette: str, mode: str) -> NoReturn:
        """Raise ``CassetteRequired``."""
        raise CassetteRequired(f"the task {self.name} makes a request to a model, and {self.refused}")
