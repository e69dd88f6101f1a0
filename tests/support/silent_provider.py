"""A provider that begins a response and then sends nothing more."""

from __future__ import annotations

import threading

from tests.support.upstream import Answer, Upstream, streamed


class Silent:
    """Sends the first ``chunks`` of a stream, then waits until ``goes_on`` is set. ``says_nothing`` sends nothing."""

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
