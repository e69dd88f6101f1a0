"""The silence at the end of a recorded answer whose caller stopped waiting for more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

import httpx2

from aquila.cassettes.model import RecordedResponse
from aquila.errors import CassetteMiss, FaultFailed, RecordingTooShort, SessionClosed
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of
from aquila.recording.replayed_time_limits import TimeLimit, strike_limit, strike_shortest_limit
from aquila.transports.callers.disconnected_caller import LEFT

if TYPE_CHECKING:
    import anyio
else:
    lazy_modules(globals(), "anyio")

_STEP = 0.05
"""The seconds of one step of a wait. Between two steps, other threads can end the wait or raise an error in it."""

_OUTLIVED = "the use of the cassette has ended while something was still waiting for an answer"


def make_read_timeout() -> Exception:
    """Make the error of a read that took too long."""
    return httpx2.ReadTimeout("timed out")


def unended_silence(asked: str, fault: str, seconds: float) -> FaultFailed:
    """Make the error of a program that waited for ``seconds`` in a silent fault. ``asked`` names its request."""
    return FaultFailed(
        f"{asked}: nothing ended the silence of the fault {fault}: the program has waited for {seconds:.1f} s, and its "
        "limit, if it has one, is a longer one (aquila_silence says how long to wait)"
    )


async def wait_to_be_stopped(seconds: float, is_over: Callable[[], bool]) -> None:
    """Wait for so many ``seconds``, so that another task can stop this one.

    Raises ``SessionClosed`` when ``is_over`` says that the scope has ended.
    """
    waited = 0.0  # steps are counted, as in `Silence`
    while waited < seconds:
        if is_over():
            raise SessionClosed(_OUTLIVED)
        await anyio.sleep(_STEP)
        waited += _STEP


class Silence:
    """The wait after the last recorded chunk, until a time limit strikes or its own time is over.

    ``seconds`` is how long it lasts beyond the recorded wait (``aquila_silence``). With ``instant``, it does not wait
    for a time limit that had struck when it was recorded: such a limit strikes at once. ``limits`` are Aquila's own
    around the call. ``is_over`` says whether the scope has ended, and ``refuse`` raises a miss. With a ``fault``, the
    silence has no end, so an ``instant`` one lets the shortest limit strike at once.
    """

    def __init__(
        self,
        response: RecordedResponse,
        request: httpx2.Request,
        *,
        seconds: float,
        limits: tuple[TimeLimit, ...],
        instant: bool,
        is_over: Callable[[], bool],
        refuse: Callable[[CassetteMiss], NoReturn],
        fault: str = "",
    ) -> None:
        self._response = response
        self._fault = fault
        self._request = request
        self._seconds = seconds
        self._limits = limits
        self._instant = instant
        self._is_over = is_over
        self._refuse = refuse
        self._closed = threading.Event()  # set by `end`, perhaps in another thread than that of `wait`

    def end(self) -> None:
        """End the silence, because the answer is closed.

        A reader in another thread gets the error of a closed connection.
        """
        self._closed.set()

    def wait(self) -> NoReturn:
        """Wait. Raises ``httpx2.ReadTimeout``, the error of a limit, or ``RecordingTooShort``."""
        for seconds in self._steps():
            self._closed.wait(seconds)
        raise AssertionError("the last step raises")

    async def wait_async(self) -> NoReturn:
        """The async twin of ``wait``."""
        for seconds in self._steps():
            await anyio.sleep(seconds)
        raise AssertionError("the last step raises")

    def _steps(self) -> Iterator[float]:
        response = self._response
        begun = response.chunks[-1].at if response.chunks else response.started
        recorded = max(0, response.ended - begun) / 1000
        if self._instant:
            limit = self._read_limit()
            if self._fault:
                strike_shortest_limit(self._limits, limit)
                self._strike_total()
            strike_limit(self._limits, response.error)
            if limit is not None and (self._fault or limit <= recorded):
                raise make_read_timeout()
        waited, longest = 0.0, recorded + self._seconds
        # Steps are counted instead of reading a clock: a test may have stopped it.
        while waited < longest:
            limit = self._read_limit()
            if limit is not None and waited >= limit:
                raise make_read_timeout()
            if self._has_left():
                raise httpx2.ReadError("the caller has left")
            if self._closed.is_set():
                raise httpx2.ReadError("the answer was closed while it was read")
            if self._is_over():
                raise SessionClosed(_OUTLIVED)
            yield min(_STEP, longest - waited)
            waited += _STEP
        if self._fault:
            self._refuse(unended_silence(f"{self._request.method} {self._request.url.host}", self._fault, longest))
        self._refuse(RecordingTooShort(self._explain(recorded, longest)))

    def _strike_total(self) -> None:
        """Raise the error of a client's limit for the whole request, if it has one that is shorter than for a read."""
        total = (self._request.extensions.get("timeout") or {}).get("total")
        read = self._read_limit()
        if total is not None and (read is None or total <= read):
            raise httpx2.TimeoutException("timed out")

    def _has_left(self) -> bool:
        departure = self._request.extensions.get(LEFT)
        return departure is not None and departure.is_known

    def _read_limit(self) -> float | None:
        """The client's own limit of a read, in seconds. It may change while an answer is read."""
        limit: float | None = (self._request.extensions.get("timeout") or {}).get("read")
        return limit

    def _explain(self, recorded: float, longest: float) -> str:
        count = len(self._response.chunks)
        came = f"ends in silence after {count_of(count, 'chunk')}" if self._response.has_begun else "never came"
        return (
            f"{self._request.method} {self._request.url.host}: the recorded answer {came}. When it was recorded, the "
            f"program stopped waiting after {recorded:.1f} s; now it has waited for {longest:.1f} s, and nothing else "
            "is recorded (aquila_silence says how much longer to wait). Look for the time limit or the cancellation "
            "that ended the wait then. If the program is meant to wait for the whole answer now, record it again with "
            "--aquila-record=all."
        )
