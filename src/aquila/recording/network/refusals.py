"""What the guard refused while a test ran, for tests that expect it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from aquila.errors import LiveCallRefused
from aquila.recording.runtime import RunningTest


class Refusals(Sequence[LiveCallRefused]):
    """The refusals of the running test so far, oldest first. A test that has any fails, even if it swallowed them."""

    def __init__(self, test: RunningTest) -> None:
        self._test = test

    @overload
    def __getitem__(self, index: int) -> LiveCallRefused: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LiveCallRefused]: ...
    def __getitem__(self, index: int | slice) -> LiveCallRefused | Sequence[LiveCallRefused]:
        return self._test.refusals[index]

    def __len__(self) -> int:
        return len(self._test.refusals)

    def forget(self) -> None:
        """Say that the refusals so far were expected: they no longer make the test fail."""
        self._test.refusals.clear()
