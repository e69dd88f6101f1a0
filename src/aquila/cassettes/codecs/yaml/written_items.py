"""The texts of interactions that were written last: where many tests share a cassette, each writes all of it again."""

from __future__ import annotations

from aquila.cassettes.codecs.yaml import writer
from aquila.cassettes.model import Interaction
from aquila.cassettes.object_memo import ObjectMemo

_texts: ObjectMemo[Interaction, str] = ObjectMemo(limit=32 * 1024 * 1024)
"""So many characters are kept."""


def write_item(interaction: Interaction) -> str:
    """Return an interaction as an item of the list. Raises CassetteWriteError."""
    text = _texts.find(interaction)
    if text is None:
        text = writer.write_interaction(interaction)
        _texts.add(interaction, text, len(text))
    return text
