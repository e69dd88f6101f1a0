"""A scope for tasks whose requests nothing may answer. A module of its own: its base class is loaded on demand."""

from __future__ import annotations

from typing import NoReturn

from aquila.errors import CassetteRequired
from aquila.recording.scope import Scope


class RefusingScope(Scope):
    """Refuses every request that would go through a cassette. ``reason`` completes "the task ..., and"."""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(kind="task", name=task, default_cassette="none")
        self.refusal = reason

    def session_for(self, cassette: str, mode: str) -> NoReturn:
        """Raise ``CassetteRequired``."""
        raise CassetteRequired(f"the task {self.name} makes a request to a model, and {self.refusal}")
