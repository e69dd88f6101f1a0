"""The provider's side of a conversation that was recorded, and what its misses say."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aquila.cassettes.frames.frame import SWITCHED, Close, Frame, is_from_provider
from aquila.cassettes.frames.replay import ConversationReplay, Ending, FrameMiss
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.names import cassette_path
from aquila.config import Settings
from aquila.errors import CassetteMiss, ConversationDrifted, PlayedOut
from aquila.intercept.web_sockets.readings import Readings
from aquila.lazy_imports import lazy_modules
from aquila.recording import conversations, drift_watch
from aquila.recording.decisions import ReplayDecision
from aquila.recording.scope import Scope
from aquila.recording.session import Session
from aquila.transports.silence import unended_silence

if TYPE_CHECKING:
    from aquila.faults import fault
else:
    lazy_modules(globals(), fault="aquila.faults.fault")


class RecordedSide:
    """Says what was recorded, at the pace that the settings name, to the client whose ``handshake`` it answers."""

    def __init__(
        self, scope: Scope, settings: Settings, session: Session, decision: ReplayDecision, handshake: RecordedRequest
    ) -> None:
        self._scope = scope
        self._settings = settings
        self._session = session
        self._decision = decision
        self._handshake = handshake
        response = decision.interaction.response
        # The times of some faults are kept, whatever the pace of replays is.
        self._timing = 1.0 if decision.fault and decision.fault.startswith(fault.PACED) else settings.replay_timing
        self._take_up(decision.interaction)
        self._said: list[bytes] | None = []  # while the client has said nothing
        self._unsaid: list[Frame] = []
        self._passed = -1  # the time of the last frame for which was waited
        self.readings = Readings(scope.run.wire_watch)
        if scope.run.wire_watch is not None:  # of a large conversation all would be read from the disk
            is_cut = bool(decision.fault) and response.end in ("broken", "silent")
            count = sum(is_from_provider(chunk) for chunk in response.chunks)
            self.readings.begin(decision, decision.interaction.request, None if is_cut else count)

    def _take_up(self, interaction: Interaction) -> None:
        """Go on as a recording does."""
        self._response = interaction.response
        self._times = sorted(chunk.at for chunk in interaction.response.chunks) if self._timing else []
        self._replay = self._replay_of(interaction)
        self._play = self._session.conversations.begin_play(interaction, self._replay.sent_count)

    def _replay_of(self, interaction: Interaction) -> ConversationReplay:
        response = interaction.response
        return ConversationReplay(
            response.chunks if response.status == SWITCHED else (),
            response.end,
            rules=self._session.rules,
            redact=self._session.redactor.redact_message,
            name=self._session.name,
        )

    def _take_first(self, said: list[bytes], data: bytes, is_text: bool) -> FrameMiss | None:
        """Take the first message of the client, and find out by it which recording answers.

        Programs may connect in any order. It is the recording that this connection was given, unless that begins
        otherwise, or another connection has it already. ``said`` are the messages that the client may have read.
        """
        plays, given = self._session.conversations, self._decision.interaction
        if self._decision.fault:
            return self._replay.take_sent(data, is_text)
        miss: FrameMiss | None = None

        def given_begins_so(_: Interaction) -> bool:
            nonlocal miss
            miss = self._replay.take_sent(data, is_text)
            return miss is None

        # Not claimed before it is known to fit: another connection may be looking for it.
        if plays.claim([given], given_begins_so) is not None:
            return None

        def greets_so(interaction: Interaction) -> ConversationReplay | None:
            replay = self._replay_of(interaction)
            return replay if [frame.data for frame in replay.deliverable()][: len(said)] == said else None

        def begins_so(interaction: Interaction) -> bool:
            replay = greets_so(interaction)
            return replay is not None and replay.take_sent(data, is_text) is None

        numbers = self._session.find_numbers(given.request)
        others = [self._session.cassette.interactions[number] for number in numbers]
        others = [each for each in others if each is not given]
        chosen = plays.claim(others, begins_so)
        if chosen is None and miss is None:  # what differs is shown beside one that nobody has
            chosen = plays.find_unclaimed(others, lambda each: greets_so(each) is not None)
        if chosen is None:
            return miss or self._replay.take_sent(data, is_text)
        self._take_up(chosen)
        self._unsaid = self._replay.deliverable()[len(said) :]
        return self._replay.take_sent(data, is_text)

    @property
    def opening(self) -> RecordedResponse:
        return self._response

    def take_sent(
        self, data: bytes, is_text: bool, *, may_wait: bool = False
    ) -> CassetteMiss | Literal["early"] | None:
        said = self._said
        miss = self._replay.take_sent(data, is_text) if said is None else self._take_first(said, data, is_text)
        if miss is None:
            self._said = None
        if miss is not None and miss.played_out and self._decision.fault:
            return None  # what a program says when it has met a fault is its own affair
        if miss is not None and may_wait and self._replay.comes_early(data, is_text):
            return "early"
        error = None if miss is None else self._make_miss(miss)
        if miss is not None and error is None:
            self._replay.pass_over()
            self._said = None
        self._play.sent = self._replay.taken_count
        return error

    def take_close(self, code: int, reason: str) -> None:
        self._replay.take_close(code, reason)

    def deliverable(self) -> list[tuple[float, Frame]]:
        frames = self._replay.deliverable()
        if self._unsaid:
            frames, self._unsaid = [*self._unsaid, *frames], []
        if self._said is not None:
            self._said += [frame.data for frame in frames]
        return [(self._take_pause(frame.at), frame) for frame in frames]

    @property
    def ended(self) -> Ending | None:
        return self._replay.ended

    def pause_before_end(self) -> float:
        ended = self._replay.ended
        return self._pause_before(ended.at if isinstance(ended, Close) else self._response.ended)

    def longest_silence(self) -> float:
        """While a reader waits, others of the program may be at work on what it says next: they get the time it took.

        So many seconds more are those of the settings.
        """
        if self._decision.fault:
            return self._settings.silence
        since, until = self._replay.silence
        since = self._response.started if since is None else since
        until = self._response.ended if until is None else until
        return max(0, until - since) / 1000 + self._settings.silence

    def explain_silence(self) -> CassetteMiss:
        awaited = self._replay.awaited
        if not awaited and self._decision.fault:
            return unended_silence(self._address, self._decision.fault, self._settings.silence)
        if awaited:
            details = (
                "  The recording goes on when the client sends this (aquila_silence says how much longer to wait):\n"
                f"\n    {awaited}"
            )
        else:
            details = (
                "  When it was recorded, the client left here. Look for what ended its wait then (aquila_silence says\n"
                "  how much longer to wait)."
            )
        title = f"the program waits for a message, and none comes in {self._session.name}"
        return CassetteMiss(self._explain(title, details, self._record_advice()))

    @property
    def may_fall_silent(self) -> bool:
        return bool(self._decision.fault) and self._response.end == "silent"

    @property
    def is_silenced(self) -> bool:
        return self.may_fall_silent and self._replay.ended == "left"

    def _take_pause(self, at: int) -> float:
        pause = self._pause_before(at)
        self._passed = at
        return pause

    def _pause_before(self, at: int) -> float:
        if not self._timing or at == self._passed:
            return 0.0
        before = bisect_left(self._times, at) - 1
        return (at - self._times[before]) / 1000 * self._timing if before >= 0 else at / 1000 * self._timing

    def _make_miss(self, miss: FrameMiss) -> CassetteMiss | None:
        """Make an error of what the client said instead of what is recorded. None if it may pass."""
        if self._scope.run.layers.finds_drift:
            text = self._explain(miss.title, miss.details, ())
            request = self._decision.interaction.request
            drift_watch.note_message(self._scope, self._session, request, miss, text)
            return None
        options = {"difference": miss.difference, "group": miss.group}
        if self._session.mode == "replay":
            kind = PlayedOut if miss.played_out else CassetteMiss
            return kind(self._explain(miss.title, miss.details, self._record_advice()), **options)
        keys, advice = conversations.drift_within(self._scope, self._session, self._decision.played.key)
        drifted = ConversationDrifted(self._explain(miss.title, miss.details, advice), **options)
        drifted.conversation = keys
        return drifted

    def _record_advice(self) -> list[str]:
        return ["If the change is meant, record the conversation again:", "", f"  {self._scope.record_command()}"]

    @property
    def _address(self) -> str:
        """What was asked, for people."""
        return f"GET {self._session.redactor.redact_request(self._handshake).url}"

    def _explain(self, title: str, details: str, advice: Sequence[str]) -> str:
        path = cassette_path(self._settings.cassette_root(), self._session.name)
        with suppress(ValueError, OSError):  # the working directory may have been deleted
            path = path.relative_to(Path.cwd())
        head = [title, "", f"  cassette   {path}", f"  requested  {self._address}"]
        body = ["", details] if details else []
        return self._session.redactor.redact_text("\n".join([*head, *body, "", *advice]))
