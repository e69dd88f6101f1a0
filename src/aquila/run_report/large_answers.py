"""What is read of a large answer for a report: its beginning and its end, and of one JSON value all."""

from __future__ import annotations

import re
from typing import NamedTuple

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import RecordedResponse
from aquila.run_report.answers import AnswerFacts, read_both_ends
from aquila.run_report.bodies import tell_left_out

MOST_READ = 4 * 1024 * 1024
"""Bytes of a stream that are read for what it says."""

END_READ = 1024 * 1024
"""Bytes of the end of a longer one, among these."""

MOST_JSON = 64 * 1024 * 1024
"""Bytes of one JSON value that are read: a part of it says nothing."""


class AnswerBody(NamedTuple):
    """The body of an answer of ``size`` bytes: ``begin`` and, where that is not all, ``end``."""

    begin: bytes
    end: bytes
    size: int

    @property
    def left_out(self) -> int:
        """How many bytes between them are missing."""
        return self.size - len(self.begin) - len(self.end)

    def read(self) -> AnswerFacts:
        """Return what the answer says."""
        return read_both_ends(self.begin, self.end, tell_left_out(self.left_out))


def read_body_of(response: RecordedResponse) -> AnswerBody:
    """Return the body of an answer, as far as it is read. Raises ``CassetteCorrupt`` if its file is missing."""
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
    """Whether a body is one value of JSON, and not one in each line."""
    return begin.lstrip()[:1] in (b"{", b"[") and re.search(rb"\}\r?\n\{", begin) is None
