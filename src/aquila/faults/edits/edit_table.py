"""Every wire form whose answers can be changed."""

from __future__ import annotations

from collections.abc import Mapping

from aquila.faults.edits.anthropic_messages import AnthropicMessageEdits
from aquila.faults.edits.chat_completions import ChatCompletionEdits
from aquila.faults.edits.form_edits import FormEdits
from aquila.faults.edits.gemini import GeminiEdits
from aquila.faults.edits.responses import ResponseEdits

FORM_EDITS: Mapping[str, FormEdits] = {
    edits.form: edits
    for edits in (
        ChatCompletionEdits(),
        ResponseEdits(),
        AnthropicMessageEdits(),
        GeminiEdits(),
    )
}
"""The edits of each wire form, by the name of the form."""
