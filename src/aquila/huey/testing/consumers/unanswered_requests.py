"""What the tasks of a test have asked in vain while a consumer runs: misses, and what the guard refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila.huey.scope_sharing import collect_misses
from aquila.recording import runtime
from aquila.recording.reporting.child_misses import ChildMisses, misses_folder

if TYPE_CHECKING:
    from aquila.errors import UnansweredRequest


class UnansweredRequests:
    """What was asked in vain since this was made, in this process or in one that it has started since."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._run = runtime.current_run()
        misses_folder(self._run)  # now: a fork that is made later writes into it
        self._misses = {scope.id: len(scope.misses) for scope in self._run.scopes.surrounding()}
        self._refusals = len(self._run.test.refusals) if self._run.test is not None else 0

    def find_first(self, *, ask_storage: bool = False) -> UnansweredRequest | None:
        """Return the first miss, else the first refusal. ``ask_storage``: collect misses from the result store first.

        Where no test of pytest runs, a refusal is not remembered.
        """
        for scope in self._run.scopes.surrounding():
            if ask_storage and scope.is_owner:
                collect_misses(self._huey, scope)
            if misses := scope.misses[self._misses.get(scope.id, 0) :]:
                return misses[0]
        test = self._run.test
        if test is None:
            return None
        test.refusals += self._run.state_of(ChildMisses).take_refusals()
        return next(iter(test.refusals[self._refusals :]), None)
