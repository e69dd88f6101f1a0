"""The buffer of a text that arrives in pieces."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from aquila.engine.endpoints.chat_parser import TextBuffer


@given(st.lists(st.text(max_size=3), max_size=600))
def test_text_is_its_pieces_joined(pieces: list[str]) -> None:
    text = TextBuffer()
    for piece in pieces:
        text.write(piece)
    assert text.getvalue() == "".join(pieces)


def test_pieces_of_a_long_stream_are_not_kept_as_objects() -> None:
    text = TextBuffer()
    tracemalloc.start()
    for number in range(20_000):
        text.write(f"{number:05d}")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * 100_000  # each piece as an object of its own would be 1,080,000
