"""Finds requests of tasks that got no answer while a consumer runs: misses, and requests that were refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila.huey.scope_sharing import collect_misses
from aquila.recording import runtime
from aquila.recording.reporting.child_misses import hear_refusals, misses_folder

if TYPE_CHECKING:
    from aquila.errors import UnansweredRequest


class UnansweredRequests:
    """The misses and refusals since this object was made, in this process and in those that it has started since."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._run = runtime.current_run()
        misses_folder(self._run)  # Made now, because a fork that is made later writes into it.
        # How many there were before. Earlier misses and refusals belong to the test itself, or to another consumer.
        self._misses = {scope.id: len(scope.misses) for scope in self._run.scopes.surrounding()}
        self._refusals = len(self._run.test.refusals) if self._run.test is not None else 0

    def find_first(self, *, ask_storage: bool = False) -> UnansweredRequest | None:
        """Return the first miss, or the first refusal, or None.

        ``ask_storage``: first collect misses from the result store. Refusals are only remembered in a test of pytest.
        """
        for scope in self._run.scopes.surrounding():
            if ask_storage and scope.is_owner:
                collect_misses(self._huey, scope)
            if misses := scope.misses[self._misses.get(scope.id, 0) :]:
                return misses[0]
        test = self._run.test
        if test is None:
            return None
        hear_refusals(self._run)
        return next(iter(test.refusals[self._refusals :]), None)
