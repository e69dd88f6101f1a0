"""What a session decides about a request: replay a recording, record the answer, or refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.cassettes.redaction.found_secrets import SecretNumbers
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.errors import CassetteMiss, PlayedOut
from aquila.quick_records import NamedTuple

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.scripting.script import Gives

EVERYTHING = ("all", "pending")
"""The modes of sessions that replay nothing."""


class ReplayDecision(NamedTuple):
    """Answer with this recording. ``last`` says that no other answer to the same call follows it.

    ``fault`` names the fault that it was changed by, if there is one, and ``gives`` says what the program gets in spite
    of that.
    """

    interaction: Interaction
    played: RecordingPlayed
    last: bool
    fault: str = ""
    gives: Gives = "all"


class RecordDecision(NamedTuple):
    """Ask the upstream and record the answer as the ``position``-th (from 0) of its key. ``request`` is redacted.

    ``numbers`` are those of the secrets in the request; the answer continues them. ``order`` counts the requests of the
    session. ``call`` names the call of the client that sent the request.
    """

    request: RecordedRequest
    numbers: SecretNumbers
    key: str
    position: int
    order: int
    call: str = ""


class RefuseDecision(NamedTuple):
    """No recording answers the request: raise what ``explain`` returns. ``key`` is that of the request.

    ``explain`` compares the request with all recordings, which may take long.
    """

    explain: Callable[[], CassetteMiss]
    key: str


class PassOnDecision:
    """Send a request that filters keep out of cassettes, unless the guard refuses it."""

    __slots__ = ()


Decision: TypeAlias = ReplayDecision | RecordDecision | RefuseDecision | PassOnDecision


class MissedRequest(NamedTuple):
    """A request that no recording answers.

    ``request`` is as it was sent. Its key has ``recording_count`` recordings, and ``earlier_count`` requests with that
    key came before. ``takes_other_origins`` says whether recordings of another scheme, host or port could have answered
    the request, too.
    """

    request: RecordedRequest
    recording_count: int
    earlier_count: int
    takes_other_origins: Callable[[], bool]

    @property
    def compares_origin(self) -> bool:
        """Whether only recordings of its own scheme, host and port could have answered it."""
        return not self.takes_other_origins()

    def make_error(self, explain_miss: Callable[[MissedRequest], Explanation]) -> CassetteMiss:
        """Return the error of this miss, with what ``explain_miss`` says of it."""
        told = explain_miss(self)
        kind = PlayedOut if self.recording_count else CassetteMiss
        return kind(told.text, difference=told.difference, group=told.group, cure=told.setting)
