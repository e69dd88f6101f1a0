"""What speaks for the provider in a conversation that does not reach it: a recording, or a script."""

from __future__ import annotations

from typing import Literal, Protocol

from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Frame
from aquila.cassettes.web_socket_frames.replay import Ending
from aquila.errors import CassetteMiss
from aquila.intercept.web_sockets.watched_readings import Readings


class ProviderSide(Protocol):
    """The provider's side of one conversation. No I/O, no clock, and not thread-safe: its owner holds a lock."""

    @property
    def readings(self) -> Readings:
        """Whom to tell how its answers are read."""

    @property
    def handshake_answer(self) -> RecordedResponse:
        """How it answers the handshake. Its chunks are the body of a refusal."""

    def take_sent(
        self, data: bytes, is_text: bool, *, may_wait: bool = False
    ) -> CassetteMiss | Literal["early"] | None:
        """Take a message that the client sends. Return why it gets no answer, None if all is well.

        If it ``may_wait`` it may also be early: it is the right one when others were sent before it.
        """

    def take_close(self, code: int, reason: str) -> None:
        """Take that the client closes the conversation."""

    def deliverable(self) -> list[tuple[float, Frame]]:
        """Return what may be delivered now, in order, each with the seconds to wait before it. Each comes once."""

    @property
    def ended(self) -> Ending | None:
        """How it ends, once all before was sent and delivered; None before that."""

    def pause_before_end(self) -> float:
        """Return how many seconds pass before it ends, behind the last frame."""

    def longest_silence(self) -> float:
        """Return for how many seconds a reader may wait where nothing comes."""

    def explain_silence(self) -> CassetteMiss:
        """Say why a reader that has waited so long waits in vain."""

    @property
    def may_fall_silent(self) -> bool:
        """Whether a fault may keep from coming what a reader waits for."""

    @property
    def is_silenced(self) -> bool:
        """Whether a fault has done so: behind what was delivered nothing comes."""
