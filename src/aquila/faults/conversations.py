"""Faults of conversations over WebSockets, under the same names as over HTTP.

A failure answers the handshake. All other faults change the messages of the provider, which are counted from the
beginning of a recorded conversation or a scripted answer. Faults of content change one answer within a conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.faults.contents import CONTENT_FAULTS
from aquila.faults.conversation_draft import BROKEN_OFF, ConversationDraft, DraftTurn, as_request, change_turn
from aquila.faults.failures import FAILURES
from aquila.faults.fault import ImpossibleFault
from aquila.faults.streams import spoil_text, to_milliseconds
from aquila.wire_forms.conversations.protocol_table import open_conversation

Change = Callable[..., RecordedResponse]
_LONGEST_REASON = 123
"""Bytes. RFC 6455, 5.5: a close has at most 125, and two of them are the code."""


def cut_stream(
    interaction: Interaction,
    *,
    after: int | None = None,
    after_bytes: int | None = None,
    after_seconds: float | None = None,
) -> RecordedResponse:
    """The connection breaks without a close (1006), after so many messages or seconds; by default in the middle."""
    draft = ConversationDraft(interaction)
    if after_seconds is not None:
        if after is not None:
            raise ImpossibleFault("give one of after= and after_seconds=")
        after = draft.count_before(to_milliseconds(after_seconds))
    return draft.end_after(_messages(after, after_bytes), end="broken", error=BROKEN_OFF)


def end_early(
    interaction: Interaction, *, after: int | None = None, after_bytes: int | None = None
) -> RecordedResponse:
    """The provider closes as if everything were said (1000), after so many messages; by default in the middle."""
    return ConversationDraft(interaction).end_after(_messages(after, after_bytes), Close("provider", 1000))


def abnormal_close(
    interaction: Interaction, *, code: int = 1011, reason: str = "", after: int | None = None
) -> RecordedResponse:
    """The provider closes with ``code`` and ``reason``, after so many messages; by default in the middle."""
    # RFC 6455, 7.4: 1000 is the normal end, 1004 to 1006 are never sent, 3000 to 4999 belong to applications.
    if not (1001 <= code <= 1014 and code not in (1004, 1005, 1006)) and not 3000 <= code <= 4999:
        raise ImpossibleFault(f"code={code} does not close a WebSocket abnormally; 1011 and 1013 do")
    if len(reason.encode()) > _LONGEST_REASON:
        raise ImpossibleFault(f"a close has room for {_LONGEST_REASON} bytes of reason=")
    return ConversationDraft(interaction).end_after(after, Close("provider", code, reason), end="broken")


def stall(interaction: Interaction, *, seconds: float | None = None, after: int | None = None) -> RecordedResponse:
    """Messages stop after so many; by default in the middle. With ``seconds``, the rest arrives after that time."""
    draft = ConversationDraft(interaction)
    if seconds is None:
        return draft.end_after(after, end="silent")
    cut, later = draft.place_after(after), to_milliseconds(seconds)
    frames = [frame._replace(at=0 if at < cut else later) for at, frame in enumerate(draft.frames)]
    return draft.finish(frames, started=0, ended=later)


def slow(interaction: Interaction, *, pace: float = 0.05, first: float = 0.0) -> RecordedResponse:
    """Each message takes ``pace`` seconds, and the first one ``first`` seconds more."""
    draft = ConversationDraft(interaction)
    now, frames, wait = 0, [], to_milliseconds(first) + to_milliseconds(pace)
    for frame in draft.frames:
        if not frame.sent:
            now += wait
            wait = to_milliseconds(pace)
        frames.append(frame._replace(at=now))
    return draft.finish(frames, started=0, ended=now)


def duplicated_event(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message arrives twice: number ``at`` (from 1), by default one in the middle."""
    draft = ConversationDraft(interaction)
    place = draft.place_of(at)
    return draft.finish([*draft.frames[: place + 1], *draft.frames[place:]])


def dropped_event(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message is missing: number ``at`` (from 1), by default one in the middle."""
    draft = ConversationDraft(interaction)
    place = draft.place_of(at)
    return draft.finish([*draft.frames[:place], *draft.frames[place + 1 :]])


def reordered_events(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message arrives after the one that follows it: number ``at`` (from 1), by default one in the middle."""
    draft = ConversationDraft(interaction)
    frames, place = draft.frames, draft.place_of(at, is_followed=at is None)
    if place + 1 >= len(frames) or frames[place + 1].sent:
        raise ImpossibleFault("no message of the provider follows it")
    return draft.finish([*frames[:place], frames[place + 1], frames[place], *frames[place + 2 :]])


def garbage(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message is not JSON: number ``at`` (from 1), by default one in the middle."""
    return _with_data(interaction, at, lambda data: b"{malformed: <<<")


def truncated_json(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """The JSON of a message is cut in half: number ``at`` (from 1), by default one in the middle."""
    return _with_data(interaction, at, lambda data: data[: len(data) // 2])


def invalid_utf8(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A message is not UTF-8, which ends the connection: number ``at`` (from 1), by default one in the middle."""
    return _with_data(interaction, at, spoil_text)


def error_event(interaction: Interaction, *, after: int | None = None) -> RecordedResponse:
    """The provider reports an error after so many messages; by default in the middle. A second request succeeds."""
    draft = ConversationDraft(interaction)
    form = open_conversation(interaction.request)
    if form is None:
        raise ImpossibleFault("the protocol of the conversation is not known, so neither are its errors")
    place = draft.place_after(after)
    frames = draft.frames
    # The error is inserted. Then everything is repeated, beginning with the client's last message: a client that asks
    # again in the same conversation gets the recorded answer.
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
    """Return a failure as a fault of the handshake, which gets the response that a plain request would get."""
    return lambda interaction, **parameters: change(as_request(interaction), **parameters)


def _in_turn(change: Change) -> Change:
    """Return a fault of content as a fault of the first answer in a conversation that can have it."""
    return lambda interaction, **parameters: change_turn(interaction, lambda good: change(good, **parameters))


HANDSHAKE_FAULTS: Mapping[str, Change] = {change.__name__: _in_handshake(change) for change in FAILURES}
"""Faults that replace a whole conversation, by name."""

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
"""Faults that change the messages of a conversation, by name."""


def refuse_on_web_sockets(interaction: Interaction, **parameters: object) -> RecordedResponse:
    """Raise ``ImpossibleFault``: the other faults do not exist over WebSockets."""
    known = ", ".join([*MESSAGE_FAULTS, *HANDSHAKE_FAULTS])
    raise ImpossibleFault(f"it does not apply to WebSockets, which deliver whole messages. These do: {known}")
