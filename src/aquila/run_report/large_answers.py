"""Reads parts of a large answer for a report: beginning and end of a stream, but all of a single JSON value."""

from __future__ import annotations

import re
from typing import NamedTuple

from aquila.cassettes.answers.answer_content import AnswerContent, read_answer
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import RecordedResponse
from aquila.run_report.bodies import tell_left_out

MOST_READ = 4 * 1024 * 1024
"""The greatest number of bytes that are read of a stream."""

END_READ = 1024 * 1024
"""How many of these bytes are from the end of a longer stream."""

MOST_JSON = 64 * 1024 * 1024
"""The greatest number of bytes that are read of a single JSON value, because a part of it cannot be parsed."""


class AnswerBody(NamedTuple):
    """The body of an answer with ``size`` bytes: ``begin`` and, if that is not all of it, ``end``."""

    begin: bytes
    end: bytes
    size: int

    @property
    def left_out(self) -> int:
        """The number of bytes between the two that were not read."""
        return self.size - len(self.begin) - len(self.end)

    def read(self) -> AnswerContent:
        """Return the content of the answer."""
        return read_both_ends(self.begin, self.end, tell_left_out(self.left_out))


def read_both_ends(begin: bytes, end: bytes, gap: str) -> AnswerContent:
    """Return the content of the beginning and the end of an answer's body, with the text ``gap`` in between.

    ``end`` may begin within an event. For frames of AWS only the beginning is read, because a frame in the middle of
    the bytes cannot be found.
    """
    facts = read_answer(begin)
    rest = read_answer(end.partition(b"\n")[2]) if begin[:1] != b"\0" else AnswerContent()
    for index, said in rest.choices.items():
        choice = facts.choice(index)
        earlier = len(choice.text) + bool(said.text)  # with the gap
        for pieces, more in ((choice.text, said.text), (choice.reasoning, said.reasoning)):
            if more:
                pieces += [f"\n\n{gap}\n\n", *more]
        for name, call in said.calls.items():
            begun = None if call.name else choice.calls.get(name)
            if begun is None:
                call.after += earlier
                choice.calls["end", name] = call
            else:
                begun.arguments += [gap, *call.arguments]
        choice.media += said.media
    facts.error = facts.error or rest.error
    return facts


def read_body_of(response: RecordedResponse) -> AnswerBody:
    """Return the parts of an answer's body that are read. Raises ``CassetteCorrupt`` if its file is missing."""
    chunks = response.chunks
    if not isinstance(chunks, StoredChunks):
        body = response.body
        if len(body) <= MOST_READ or (len(body) <= MOST_JSON and _is_one_value(body[:MOST_READ])):
            return AnswerBody(body, b"", len(body))
        return AnswerBody(body[: MOST_READ - END_READ], body[-END_READ:], len(body))
    file = chunks.file
    begin = file.first_bytes(MOST_READ)
    if file.size <= MOST_READ:
        return AnswerBody(begin, b"", file.size)
    if file.size <= MOST_JSON and _is_one_value(begin):
        return AnswerBody(file.first_bytes(file.size), b"", file.size)
    return AnswerBody(begin[: MOST_READ - END_READ], file.last_bytes(END_READ), file.size)


def _is_one_value(begin: bytes) -> bool:
    """Whether a body is one JSON value, rather than one in each line."""
    return begin.lstrip()[:1] in (b"{", b"[") and re.search(rb"\}\r?\n\{", begin) is None
