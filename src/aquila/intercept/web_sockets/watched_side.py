"""Notes the messages of a conversation that a recording or a script answers, for the report of the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from aquila.cassettes.model import SWITCHED, RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.recording.reporting.exchange_watch import WatchedExchange, current_exchange

if TYPE_CHECKING:
    from aquila.errors import CassetteMiss
    from aquila.intercept.web_sockets.provider_side import ProviderSide

MOST_NOTED = 4 * 1024 * 1024
"""After so many bytes of messages of a conversation further messages are only counted."""


class WatchedSide:
    """Wraps ``side``, a provider's side, and adds the messages to ``noted``."""

    def __init__(self, side: ProviderSide, noted: WatchedExchange) -> None:
        self._side = side
        self._noted = noted
        # Shared with `noted.response` below, so that the report has all messages up to the moment when it is written.
        self._chunks: list[RecordedChunk] = []
        self._size = 0  # bytes of the chunks; see MOST_NOTED
        noted.response = (
            side.handshake_answer
            if side.handshake_answer.status != SWITCHED
            else replace(side.handshake_answer, chunks=self._chunks)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._side, name)

    def take_sent(
        self, data: bytes, is_text: bool, *, may_wait: bool = False
    ) -> CassetteMiss | Literal["early"] | None:
        """Take a message of the client, and note it unless it has to wait."""
        self._noted.remember_secrets()
        answer = self._side.take_sent(data, is_text, may_wait=may_wait)
        if answer != "early":
            self._note(store_frame(Frame(data, sent=True, is_text=is_text, at=self._now())))
        return answer

    def deliverable(self) -> list[tuple[float, Frame]]:
        """Return the messages that may be delivered now, and note them."""
        found = self._side.deliverable()
        for _, frame in found:
            self._note(store_frame(frame._replace(at=self._now())))
        return found

    def take_close(self, code: int, reason: str) -> None:
        """Take the close of the client, and note it."""
        self._side.take_close(code, reason)
        self._note(store_close(Close("client", code, reason, self._now())))

    def _note(self, chunk: RecordedChunk) -> None:
        if self._size < MOST_NOTED:
            self._chunks.append(chunk)
            self._size += len(chunk.data)
        else:
            self._noted.left_out += 1
        self._noted.ended = time.perf_counter()

    def _now(self) -> int:
        return round((time.perf_counter() - self._noted.asked) * 1000)


def refuse_within(
    noted: WatchedExchange, refuse: Callable[[CassetteMiss], NoReturn]
) -> Callable[[CassetteMiss], NoReturn]:
    """Return a function that calls ``refuse``, and notes the miss in the exchange ``noted``."""

    def refuse_here(miss: CassetteMiss) -> NoReturn:
        mark = current_exchange.set(noted)
        try:
            refuse(miss)
        finally:
            current_exchange.reset(mark)

    return refuse_here
