"""The interface of a recording or a script that speaks for the provider in a conversation."""

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
        """Notes how the program reads the answers."""

    @property
    def handshake_answer(self) -> RecordedResponse:
        """The answer to the handshake. Its chunks are the body of a refusal."""

    def take_sent(
        self, data: bytes, is_text: bool, *, may_wait: bool = False
    ) -> CassetteMiss | Literal["early"] | None:
        """Take a message that the client sends. Return None if it fits, or the miss if it does not.

        With ``may_wait`` the result ``"early"`` means that the message fits once others were sent before it.
        """

    def take_close(self, code: int, reason: str) -> None:
        """Take the close of the client."""

    def deliverable(self) -> list[tuple[float, Frame]]:
        """Return the messages that may be delivered now, in order, each once, with the seconds to wait before each."""

    @property
    def ended(self) -> Ending | None:
        """How the conversation ends, once all messages were sent and delivered; None before that."""

    def pause_before_end(self) -> float:
        """Return the seconds between the last frame and the end."""

    def longest_silence(self) -> float:
        """Return how many seconds a reader may wait while no message comes."""

    def explain_silence(self) -> CassetteMiss:
        """Return the error for a reader that has waited for so long."""

    @property
    def may_fall_silent(self) -> bool:
        """Whether a fault may withhold messages from a reader."""

    @property
    def is_silenced(self) -> bool:
        """Whether a fault has done so: no message comes after the delivered ones."""
