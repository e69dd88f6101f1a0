"""Messages that are put together from what several threads send over one connection."""

from __future__ import annotations

from aquila.intercept.web_sockets.assembling import BINARY, CONTINUATION, TEXT, Assembler


def test_a_whole_message_leaves_the_fragments_of_another_thread_alone() -> None:
    got: list[tuple[bytes, bool]] = []
    assembler = Assembler(lambda data, is_text: got.append((data, is_text)))
    assembler.add(TEXT, b"one ", is_last=False)
    assembler.add(BINARY, b"whole", is_last=True)
    assembler.add(CONTINUATION, b"two", is_last=True)
    assert got == [(b"whole", False), (b"one two", True)]
