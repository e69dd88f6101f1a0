"""Replays answers from a cassette, byte for byte and chunk for chunk, without any network."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, NoReturn

import httpx2

from aquila.cassettes.model import Headers, RecordedChunk, RecordedResponse
from aquila.cassettes.storage.recording_slots import TRANSIENT
from aquila.errors import CassetteMiss, RecordingTooShort
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.transports.wire import encode_recorded_headers, error_from_text

if TYPE_CHECKING:
    import anyio

    from aquila.transports import requested_delay
    from aquila.transports.silence import Silence
    from aquila.wire_forms import table
else:
    lazy_modules(globals(), "anyio", "aquila.transports: requested_delay", "aquila.wire_forms: table")


class Pace:
    """Waits as long as the recorded answer took, times ``factor``, but no longer than the timeouts of ``request``.

    Those are its timeouts for a read and in total. With ``hurries``, a timeout that would strike is raised at once.
    """

    def __init__(self, factor: float, request: httpx2.Request, *, hurries: bool = False) -> None:
        self._factor = factor
        self._hurries = hurries
        limits = request.extensions.get("timeout") or {}
        self._read_limit: float | None = limits.get("read")
        self._total: float | None = limits.get("total")
        self._at = 0

    def _next_wait(self, at: int) -> tuple[float, Exception | None]:
        """Return the seconds to wait until ``at``, and the error to raise then if the client would have given up.

        ``at`` is in milliseconds since the request, as in recordings.
        """
        before = self._at / 1000 * self._factor
        self._at = max(at, self._at)
        seconds = self._at / 1000 * self._factor - before
        left = None if self._total is None else max(0.0, self._total - before)
        error: Exception | None = None
        if self._read_limit is not None and seconds > self._read_limit:
            seconds, error = self._read_limit, httpx2.ReadTimeout("timed out")
        if left is not None and seconds > left:
            seconds, error = left, httpx2.TimeoutException("timed out")
        return (0.0 if error is not None and self._hurries else seconds), error

    def wait_until(self, at: int) -> None:
        """Wait until ``at``. Raises ``httpx2.TimeoutException`` when the client would have given up."""
        seconds, error = self._next_wait(at)
        if seconds:
            time.sleep(seconds)
        if error is not None:
            raise error

    async def wait_until_async(self, at: int) -> None:
        """The async twin of ``wait_until``."""
        seconds, error = self._next_wait(at)
        if seconds or error is not None:
            await anyio.sleep(seconds)
        if error is not None:
            raise error


def replay_response(
    decision: ReplayDecision, rest: Rest | None, pace: Pace | None = None, *, advises: bool = True
) -> httpx2.Response:
    """Return a recorded answer as an httpx2 response. ``rest`` follows the last chunk, None for a complete answer.

    ``pace`` keeps the recorded times. With ``advises``, the headers of a failure tell the client not to sleep before it
    retries.
    """
    response = decision.interaction.response
    if pace is not None:
        pace.wait_until(response.started)
    if rest is not None and not response.has_begun:
        rest.meet()
    return _begin_answer(decision, ReplayStream(response, rest, pace), advises)


async def replay_response_async(
    decision: ReplayDecision, rest: Rest | None, pace: Pace | None = None, *, advises: bool = True
) -> httpx2.Response:
    """Return a recorded answer as an httpx2 response for asynchronous clients; see ``replay_response``."""
    response = decision.interaction.response
    if pace is not None:
        await pace.wait_until_async(response.started)
    if rest is not None and not response.has_begun:
        await rest.meet_async()
    return _begin_answer(decision, AsyncReplayStream(response, rest, pace), advises)


_VERSION = {"http_version": b"HTTP/1.1"}
"""The extension of every answer from a network, which programs may read. A cassette does not store the version."""


def _begin_answer(
    decision: ReplayDecision, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream, advises: bool
) -> httpx2.Response:
    response = decision.interaction.response
    headers = _tell_not_to_wait(decision) if advises and response.status in TRANSIENT else response.headers
    fields = encode_recorded_headers(headers)
    return httpx2.Response(response.status, headers=fields, stream=stream, extensions=_VERSION)


def _tell_not_to_wait(decision: ReplayDecision) -> Headers:
    """Return the recorded headers of a failure, with fields that keep the client from sleeping before it retries.

    If another recording follows, the client should retry at once; after the last one it should not retry. The SDKs of
    OpenAI and Anthropic follow ``retry-after-ms`` and ``x-should-retry``.
    """
    headers = decision.interaction.response.headers
    if decision.fault and (any(name == "retry-after-ms" for name, _ in headers) or _gives_up(decision)):
        return headers  # the fault is about this delay
    advice = ("x-should-retry", "false") if decision.last else requested_delay.NO_DELAY
    return (*[field for field in headers if field[0] not in (advice[0], "x-should-retry")], advice)


def _gives_up(decision: ReplayDecision) -> bool:
    """Whether an OpenAI client does not retry after a fault, because the requested delay is too long."""
    form = table.find_wire_form(decision.interaction.request)
    if form is None or not form.name.startswith("OpenAI"):
        return False
    delay = requested_delay.read_requested_delay(dict(decision.interaction.response.headers))
    return delay is not None and delay > requested_delay.LONGEST_DELAY


class Rest:
    """What follows the last recorded chunk of an incomplete answer.

    ``silence`` is the wait of an answer that ends in silence. ``refuse`` raises a miss. The other two are for an answer
    whose caller stopped reading when it was recorded. Without the recorded pauses, the replay may get to this point
    before the caller has stopped again. ``has_left`` waits for the end of the caller's connection, and says whether it
    came. ``patience`` waits for another task to stop this one.
    """

    def __init__(
        self,
        response: RecordedResponse,
        *,
        silence: Silence | None,
        refuse: Callable[[CassetteMiss], NoReturn],
        has_left: Callable[[], bool] | None = None,
        patience: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._response = response
        self._silence = silence
        self._refuse = refuse
        self._has_left = has_left
        self._patience = patience

    def meet(self) -> None:
        """Wait through the silence, if there is one, then raise the error with which the answer ended."""
        if self._silence is not None:
            self._silence.wait()
        self._raise_end()

    async def meet_async(self) -> None:
        """The async twin of ``meet``."""
        if self._silence is not None:
            await self._silence.wait_async()
        if self._patience is not None:
            await self._patience()
        self._raise_end()

    def close(self) -> None:
        """Wake a reader that waits, because the answer is closed."""
        if self._silence is not None:
            self._silence.end()

    def _raise_end(self) -> None:
        response = self._response
        if response.end == "broken":
            raise error_from_text(response.error)
        if response.end == "closed":
            if self._has_left is not None and self._has_left():
                raise httpx2.ReadError("the caller has left")
            self._refuse(
                RecordingTooShort(
                    f"the recorded answer ends after {count_of(len(response.chunks), 'chunk')}, because the caller "
                    "stopped reading there when it was recorded; now it reads on. If that is meant, record this answer "
                    "again with --aquila-record=all. If it is a server whose own caller leaves, a replay ends before "
                    "the server notices: replay at the recorded pace, with replay_timing='recorded'."
                )
            )


_data_of: Callable[[RecordedChunk], bytes] = attrgetter("data")


class ReplayStream(httpx2.SyncByteStream):
    """The body of a recorded answer, in its chunks. ``after_close`` is called once it is closed."""

    after_close: Callable[[], None] | None = None

    def __init__(self, response: RecordedResponse, rest: Rest | None, pace: Pace | None) -> None:
        self._response = response
        self._rest = rest
        self._pace = pace

    def __iter__(self) -> Iterator[bytes]:
        if self._pace is None and self._rest is None:
            return map(_data_of, self._response.chunks)  # the usual case, without Python code for each chunk
        return self._iterate_slowly()

    def _iterate_slowly(self) -> Iterator[bytes]:
        for chunk in self._response.chunks:
            if self._pace is not None:
                self._pace.wait_until(chunk.at)
            yield chunk.data
        if self._rest is not None:
            self._rest.meet()

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()
        if self.after_close is not None:
            self.after_close()


class AsyncReplayStream(httpx2.AsyncByteStream):
    """The async twin of ``ReplayStream``."""

    after_close: Callable[[], Awaitable[None]] | None = None

    def __init__(self, response: RecordedResponse, rest: Rest | None, pace: Pace | None) -> None:
        self._response = response
        self._rest = rest
        self._pace = pace
        self._chunks = iter(response.chunks)  # one iterator: the openai SDK iterates again after the terminator

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if self._pace is not None:
                await self._pace.wait_until_async(chunk.at)
            yield chunk.data
        if self._rest is not None:
            await self._rest.meet_async()

    async def aclose(self) -> None:
        if self._rest is not None:
            self._rest.close()
        if self.after_close is not None:
            await self.after_close()
