"""Edits of chat completions, from OpenAI and the many servers with the same API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aquila.faults.edits import form_edits
from aquila.faults.edits.draft import Draft, Value
from aquila.faults.fault import ImpossibleFault
from aquila.json_fields import mapping, mappings, string

_SAID = ("content", "refusal", "tool_calls", "function_call", "audio", "annotations")
_CALLED = ("tool_calls", "function_call")
_BODIES = {"function": "arguments", "custom": "input"}


class ChatCompletionEdits(form_edits.FormEdits):
    """A choice of a whole answer has a ``message``; of a stream, a ``delta`` in each event."""

    form = "OpenAI chat completions"

    def end(self, draft: Draft, reason: form_edits.Cut) -> None:
        for choice in form_edits.find_holders(_choices(draft), "finish_reason", form_edits.NO_END):
            choice["finish_reason"] = reason

    def silence(self, draft: Draft, refusal: str | None) -> None:
        choices = _choices(draft)
        if not any(mapping(choice.get(_holder(draft))) for choice in choices):
            raise ImpossibleFault("the answer has no message")
        if not any(choice.get("finish_reason") for choice in choices):
            raise ImpossibleFault(form_edits.NO_END)
        refused: set[str] = set()
        for part in draft.parts:
            was_said = False
            for choice in mappings(part.value.get("choices")):
                said = mapping(choice.get(_holder(draft)))
                was_said |= any(said.get(key) for key in _SAID)
                if draft.is_streamed:
                    _silence_delta(said)
                else:
                    _silence_message(said)
                if choice.get("logprobs") is not None:
                    choice["logprobs"] = None
                if choice.get("finish_reason"):  # some servers send an empty text in place of null
                    choice["finish_reason"] = "stop"
            if refusal is not None and (was_said or not draft.is_streamed):
                was_said = not _refuse(part.value, _holder(draft), refusal, refused)
            if was_said and _is_empty(part.value):
                part.remove()
        if refusal is not None and not refused:  # there was no text or call that it could replace
            for part in draft.parts:
                if _refuse(part.value, _holder(draft), refusal, refused):
                    break

    def cut_arguments(self, draft: Draft) -> None:
        bodies = [(body, _BODIES[kind]) for kind, body in _bodies(draft)]
        form_edits.cut_pieces([(body, key) for body, key in bodies if isinstance(body.get(key), str)])

    def rename_tool(self, draft: Draft, name: str) -> None:
        named = [body for _, body in _bodies(draft) if string(body.get("name"))]
        if not named:
            raise ImpossibleFault("the tool call has no name")
        whole = named[0]["name"]
        # Some servers send the name in pieces, others repeat it in each event: the first gets the new name, repetitions
        # get it, too, and further pieces become empty.
        for body in named:
            body["name"] = str(name) if body is named[0] or body["name"] == whole else ""

    def drop_call_id(self, draft: Draft) -> None:
        form_edits.drop_each(_last_call(draft), "id", form_edits.NO_ID)

    def drop_usage(self, draft: Draft) -> None:
        counted = [part for part in draft.parts if part.value.get("usage") is not None]
        form_edits.drop_each(
            [*draft.values, *(mapping(value.get("x_groq")) for value in draft.values)], "usage", form_edits.NO_USAGE
        )
        for part in counted:
            if draft.is_streamed and part.value.get("choices") == []:
                part.remove()  # the event reported nothing else

    def rename_model(self, draft: Draft, name: str) -> None:
        form_edits.rename_each(list(draft.values), "model", name)

    def write_error(self, before: Sequence[Value]) -> Value:
        message = "The server had an error while processing your request. Sorry about that!"
        return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def _holder(draft: Draft) -> str:
    return "delta" if draft.is_streamed else "message"


def _choices(draft: Draft) -> list[Value]:
    return [choice for value in draft.values for choice in mappings(value.get("choices"))]


def _silence_message(message: Value) -> None:
    for key in _CALLED:
        message.pop(key, None)
    for key in ("refusal", "audio"):
        if message.get(key) is not None:
            message[key] = None
    if message.get("annotations"):
        message["annotations"] = []
    message["content"] = ""


def _silence_delta(delta: Value) -> None:
    for key in _SAID:
        if delta.get(key):
            if key == "content" and "role" in delta:
                delta[key] = ""
            else:
                del delta[key]


def _refuse(value: Value, holder: str, text: str, refused: set[str]) -> bool:
    """Write the refusal into each choice that is not in ``refused`` yet. Returns whether one was written."""
    is_written = False
    for choice in mappings(value.get("choices")):
        said = choice.get(holder)
        if isinstance(said, dict) and str(choice.get("index")) not in refused:
            if holder == "message":
                said["content"] = None
            said["refusal"] = text
            refused.add(str(choice.get("index")))
            is_written = True
    return is_written


def _is_empty(value: Value) -> bool:
    """Whether an event has become empty, so that it can be removed."""
    choices = mappings(value.get("choices"))
    return value.get("usage") is None and not any(
        choice.get("finish_reason") or any(mapping(choice.get("delta")).values()) for choice in choices
    )


def _last_call(draft: Draft) -> list[Value]:
    """Return the pieces of the last tool call. Raises ``ImpossibleFault`` if there is none."""
    calls: list[list[Value]] = []
    open_calls: dict[tuple[str, str], list[Value]] = {}
    for choice in _choices(draft):
        said = mapping(choice.get(_holder(draft)))
        pieces = [(str(call.get("index")), call) for call in mappings(said.get("tool_calls"))]
        if isinstance(said.get("function_call"), dict):  # the API before it had tools
            pieces.append(("", {"function": said["function_call"]}))
        for index, call in pieces:
            place = (str(choice.get("index")), index)
            begun = open_calls.get(place)
            # Some servers number no calls, or all with 0; then each call is told by its own id.
            if begun is None or string(call.get("id")) not in ("", begun[0].get("id")):
                begun = open_calls[place] = []
                calls.append(begun)
            begun.append(call)
    if not calls:
        raise ImpossibleFault(form_edits.NO_CALL)
    return calls[-1]


def _bodies(draft: Draft) -> Iterator[tuple[str, Value]]:
    for call in _last_call(draft):
        for kind in _BODIES:
            if isinstance(call.get(kind), dict):
                yield kind, call[kind]
