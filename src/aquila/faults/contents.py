"""Faults in the content of an answer, written in its wire form. Everything else stays byte for byte.

``edits/`` has the forms. A fault of this kind is impossible for an error, and for an answer of an unknown form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.faults.edits.anthropic_messages import AnthropicMessageEdits
from aquila.faults.edits.chat_completions import ChatCompletionEdits
from aquila.faults.edits.draft import Draft, Value
from aquila.faults.edits.form_edits import FormEdits
from aquila.faults.edits.gemini import GeminiEdits
from aquila.faults.edits.responses import ResponseEdits
from aquila.faults.fault import ImpossibleFault
from aquila.wire_forms.table import find_wire_form

FORM_EDITS: Mapping[str, FormEdits] = {
    edits.form: edits for edits in (ChatCompletionEdits(), ResponseEdits(), AnthropicMessageEdits(), GeminiEdits())
}
"""The edits of each wire form whose answers can be changed, by the name of the form."""

REFUSAL = "I'm sorry, but I can't help with that."


def finish_length(interaction: Interaction) -> RecordedResponse:
    """The answer says that it was cut off at the token limit. Its content stays."""
    return _change(interaction, lambda edits, draft: edits.end(draft, "length"))


def content_filter(interaction: Interaction) -> RecordedResponse:
    """The answer says that a content filter cut it off. Its content stays."""
    return _change(interaction, lambda edits, draft: edits.end(draft, "content_filter"))


def refusal(interaction: Interaction, *, text: str = REFUSAL) -> RecordedResponse:
    """The model refuses: ``text``, as a refusal, replaces all texts and tool calls."""
    return _change(interaction, lambda edits, draft: edits.silence(draft, str(text)))


def empty_answer(interaction: Interaction) -> RecordedResponse:
    """The answer ends normally and is empty: no text, and no tool call."""
    return _change(interaction, lambda edits, draft: edits.silence(draft, None))


def broken_arguments(interaction: Interaction) -> RecordedResponse:
    """The JSON of the last tool call's arguments is cut in half."""
    return _change(interaction, lambda edits, draft: edits.cut_arguments(draft))


def unknown_tool(interaction: Interaction, *, name: str = "no_such_tool") -> RecordedResponse:
    """The last tool call names a tool that was not offered."""
    return _change(interaction, lambda edits, draft: edits.rename_tool(draft, name))


def missing_call_id(interaction: Interaction) -> RecordedResponse:
    """The last tool call has no id."""
    return _change(interaction, lambda edits, draft: edits.drop_call_id(draft))


def no_usage(interaction: Interaction) -> RecordedResponse:
    """The answer does not report how many tokens it took."""
    return _change(interaction, lambda edits, draft: edits.drop_usage(draft))


def other_model(interaction: Interaction, *, name: str = "another-model") -> RecordedResponse:
    """The answer names another model than the one that was asked."""
    return _change(interaction, lambda edits, draft: edits.rename_model(draft, name))


def error_event(interaction: Interaction, *, after: int | None = None) -> RecordedResponse:
    """The provider reports an error within the stream, after so many events; by default after half of them."""
    edits, draft = _open(interaction)
    return draft.finish_with_error(edits.write_error, after)


CONTENT_FAULTS = (
    finish_length,
    content_filter,
    refusal,
    empty_answer,
    broken_arguments,
    unknown_tool,
    missing_call_id,
    no_usage,
    other_model,
    error_event,
)


def _open(interaction: Interaction) -> tuple[FormEdits, Draft]:
    """Return the edits of an answer's wire form, and the answer to be changed.

    Raises ``ImpossibleFault`` if there are no edits, or nothing to change: the answer never began, or is an error.
    """
    form = find_wire_form(interaction.request)
    if form is None:
        raise ImpossibleFault("the request has no known wire form, so its answer cannot be changed")
    edits = FORM_EDITS.get(form.name)
    if edits is None:
        raise ImpossibleFault(f"this fault does not apply to answers of the form {form.name}")
    response = interaction.response
    if not response.has_begun or not 200 <= response.status < 300:
        status = f"has the status {response.status}" if response.has_begun else "never began"
        raise ImpossibleFault(f"the answer {status}, so it has no content to change")
    draft = Draft(response)
    if any(map(_is_error, draft.values)):
        raise ImpossibleFault("the answer already reports an error")
    return edits, draft


def _is_error(value: Value) -> bool:
    return isinstance(value.get("error"), dict) or value.get("type") in ("error", "response.failed")


def _change(interaction: Interaction, change: Callable[[FormEdits, Draft], None]) -> RecordedResponse:
    edits, draft = _open(interaction)
    change(edits, draft)
    return draft.finish()
