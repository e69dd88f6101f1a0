"""The requests that the guard refused while a test ran, for tests that expect refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from aquila.errors import LiveCallRefused
from aquila.recording.reporting.child_messages import hear_refusals
from aquila.recording.runtime import Run, RunningTest


class Refusals(Sequence[LiveCallRefused]):
    """The refusals of the running test so far, oldest first, those of its child processes included.

    A test that has any fails, even if it swallowed them.
    """

    def __init__(self, run: Run, test: RunningTest) -> None:
        self._run = run
        self._test = test

    @overload
    def __getitem__(self, index: int) -> LiveCallRefused: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LiveCallRefused]: ...
    def __getitem__(self, index: int | slice) -> LiveCallRefused | Sequence[LiveCallRefused]:
        return self._so_far()[index]

    def __len__(self) -> int:
        return len(self._so_far())

    def forget(self) -> None:
        """Say that the refusals so far were expected: they no longer make the test fail."""
        self._so_far().clear()

    def _so_far(self) -> list[LiveCallRefused]:
        hear_refusals(self._run)
        return self._test.refusals
