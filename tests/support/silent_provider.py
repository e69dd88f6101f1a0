"""A provider that begins an answer, and then says nothing more."""

from __future__ import annotations

import threading

from tests.support.upstream import Answer, Upstream, streamed


class Silent:
    """Answers with the first ``chunks`` of a stream, or with nothing at all, until ``goes_on`` is set."""

    def __init__(self, server: Upstream, *, chunks: int) -> None:
        self.url = f"{server.url}/v1"
        self.server = server
        self.goes_on = threading.Event()
        self.says_nothing = False
        self._chunks = chunks
        server.script = self._answer

    def _answer(self, path: str, body: bytes) -> Answer:
        if self.says_nothing:
            self.goes_on.wait(60)
        return streamed("one two three", before_chunk=lambda number: number != self._chunks or self.goes_on.wait(60))
