"""A memo of written interactions. If many tests record into one cassette, each of them writes the whole file."""

from __future__ import annotations

from aquila.cassettes.codecs.yaml import writer
from aquila.cassettes.model import Interaction
from aquila.cassettes.object_memo import ObjectMemo

_texts: ObjectMemo[Interaction, str] = ObjectMemo(limit=32 * 1024 * 1024)
"""The texts that were written last, for the whole process. The limit is in characters."""


def write_item(interaction: Interaction) -> str:
    """Return an interaction as an item of the list. Raises CassetteWriteError."""
    text = _texts.find(interaction)
    if text is None:
        text = writer.write_interaction(interaction)
        _texts.add(interaction, text, len(text))
    return text
