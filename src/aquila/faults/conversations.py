"""Faults of conversations over WebSockets: the same names, and what they mean there.

A failure is the answer to the handshake. All else happens to the messages of the provider, which are counted from the
beginning of a recorded conversation, or of a scripted answer. What a model says is changed within one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aquila.cassettes.frames.frame import Close, Frame
from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.faults.contents import CONTENT_FAULTS
from aquila.faults.conversation_draft import BROKEN_OFF, ConversationDraft, DraftTurn, as_request, change_turn
from aquila.faults.failures import FAILURES
from aquila.faults.fault import ImpossibleFault
from aquila.faults.streams import milliseconds, spoil_text
from aquila.wire_forms.conversations.table import open_conversation

Change = Callable[..., RecordedResponse]


def cut_stream(
    interaction: Interaction,
    *,
    after: int | None = None,
    after_bytes: int | None = None,
    after_seconds: float | None = None,
) -> RecordedResponse:
    """The connection breaks without a close (1006), after so many messages or seconds, else in the middle."""
    draft = ConversationDraft(interaction)
    if after_seconds is not None and after is None:
        after = draft.count_before(after_seconds)
    return draft.end_after(_messages(after, after_bytes), end="broken", error=BROKEN_OFF)


def end_early(
    interaction: Interaction, *, after: int | None = None, after_bytes: int | None = None
) -> RecordedResponse:
    """The provider closes as if all were said (1000), after so many messages, else in the middle."""
    return ConversationDraft(interaction).end_after(_messages(after, after_bytes), Close("provider", 1000))


def abnormal_close(
    interaction: Interaction, *, code: int = 1011, reason: str = "", after: int | None = None
) -> RecordedResponse:
    """The provider closes with the code and the reason, after so many messages, else in the middle."""
    if not (1001 <= code <= 1014 and code not in (1004, 1005, 1006)) and not 3000 <= code <= 4999:
        raise ImpossibleFault(f"code={code} is none that closes a WebSocket abnormally; 1011 is one, or 1013")
    return ConversationDraft(interaction).end_after(after, Close("provider", code, reason), end="broken")


def stall(interaction: Interaction, *, seconds: float | None = None, after: int | None = None) -> RecordedResponse:
    """No message comes any more, after so many, else in the middle. With ``seconds`` it goes on after them."""
    draft = ConversationDraft(interaction)
    if seconds is None:
        return draft.end_after(after, end="silent")
    cut, later = draft.place_after(after), milliseconds(seconds)
    frames = [frame._replace(at=0 if at < cut else later) for at, frame in enumerate(draft.frames)]
    return draft.finish(frames, started=0, ended=later)


def slow(interaction: Interaction, *, pace: float = 0.05, first: float = 0.0) -> RecordedResponse:
    """Each message takes ``pace`` seconds, and the first one ``first`` seconds more."""
    draft = ConversationDraft(interaction)
    now, frames, wait = 0, [], milliseconds(first) + milliseconds(pace)
    for frame in draft.frames:
        if not frame.sent:
            now += wait
            wait = milliseconds(pace)
        frames.append(frame._replace(at=now))
    return draft.finish(frames, started=0, ended=now)


def duplicated_event(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message comes twice: the one with the number ``at`` (from 1), else one in the middle."""
    draft = ConversationDraft(interaction)
    place = draft.place_of(at)
    return draft.finish([*draft.frames[: place + 1], *draft.frames[place:]])


def dropped_event(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message does not come: the one with the number ``at`` (from 1), else one in the middle."""
    draft = ConversationDraft(interaction)
    place = draft.place_of(at)
    return draft.finish([*draft.frames[:place], *draft.frames[place + 1 :]])


def reordered_events(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message comes after the one that follows it: the one with the number ``at``, else one in the middle."""
    draft = ConversationDraft(interaction)
    frames, place = draft.frames, draft.place_of(at, is_followed=at is None)
    if place + 1 >= len(frames) or frames[place + 1].sent:
        raise ImpossibleFault("no message of the provider follows it")
    return draft.finish([*frames[:place], frames[place + 1], frames[place], *frames[place + 2 :]])


def garbage(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message is no JSON: the one with the number ``at`` (from 1), else one in the middle."""
    return _with_data(interaction, at, lambda data: b"{malformed: <<<")


def truncated_json(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """The JSON of a message breaks off: that of the one with the number ``at`` (from 1), else one in the middle."""
    return _with_data(interaction, at, lambda data: data[: len(data) // 2])


def invalid_utf8(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A text is no UTF-8, which ends the connection: the one with the number ``at``, else one in the middle."""
    return _with_data(interaction, at, spoil_text)


def error_event(interaction: Interaction, *, after: int | None = None) -> RecordedResponse:
    """The provider's own error comes, after so many messages, else in the middle. Asked again it answers well."""
    draft = ConversationDraft(interaction)
    form = open_conversation(interaction.request)
    if form is None:
        raise ImpossibleFault("the protocol of the conversation is not known, so neither are its errors")
    place = draft.place_after(after)
    frames = draft.frames
    asked = next((at for at in range(place - 1, -1, -1) if frames[at].sent), place)
    turn = DraftTurn.at(frames, asked)
    error = form.write_failure(stream_id=turn.stream_id)
    if error is None:
        raise ImpossibleFault(f"{form.name} has no message for it: abnormal_close is how it fails")
    moment = frames[place].at
    return draft.finish([*frames[:place], error._replace(at=moment), *frames[asked:]])


def _messages(after: int | None, after_bytes: int | None) -> int | None:
    if after_bytes is not None:
        raise ImpossibleFault("a message comes as a whole: give after=, a number of messages")
    return after


def _with_data(interaction: Interaction, at: int | None, change: Callable[[bytes], bytes]) -> RecordedResponse:
    draft = ConversationDraft(interaction)
    place = draft.place_of(at)
    frame = draft.frames[place]
    if frame.data[:1] != b"{":
        raise ImpossibleFault("the message is no JSON object")
    frames: list[Frame] = [*draft.frames]
    frames[place] = frame._replace(data=change(frame.data))
    return draft.finish(frames)


def _in_handshake(change: Change) -> Change:
    """The fault of an answer that never was one: it answers the handshake, as it would a request."""
    return lambda interaction, **parameters: change(as_request(interaction), **parameters)


def _in_turn(change: Change) -> Change:
    """The fault of what an answer says, in the first answer of a conversation that can have it."""
    return lambda interaction, **parameters: change_turn(interaction, lambda good: change(good, **parameters))


HANDSHAKE_FAULTS: Mapping[str, Change] = {change.__name__: _in_handshake(change) for change in FAILURES}
"""What comes in the place of a conversation, by the name of the fault."""

MESSAGE_FAULTS: Mapping[str, Change] = {
    **{
        change.__name__: change
        for change in (
            cut_stream,
            end_early,
            abnormal_close,
            stall,
            slow,
            duplicated_event,
            dropped_event,
            reordered_events,
            garbage,
            truncated_json,
            invalid_utf8,
            error_event,
        )
    },
    **{change.__name__: _in_turn(change) for change in CONTENT_FAULTS if change.__name__ != "error_event"},
}
"""What happens to the messages of one, by the name of the fault."""


def reach_none(interaction: Interaction, **parameters: object) -> RecordedResponse:
    """Refuse any other fault: none of them reaches WebSockets."""
    known = ", ".join([*MESSAGE_FAULTS, *HANDSHAKE_FAULTS])
    raise ImpossibleFault(f"it does not apply to WebSockets, which deliver whole messages. These do: {known}")
