"""Answers as cassettes hold them: without their content codings."""

from __future__ import annotations

import gzip
import zlib

from aquila.cassettes.model import RecordedChunk
from aquila.transports.wire import undo_coding


def test_codings_that_are_named_in_several_fields_are_all_undone() -> None:
    body = gzip.compress(zlib.compress(b"a tern"))
    headers = (("content-encoding", "deflate"), ("content-encoding", "gzip"), ("x", "1"))
    chunks = [RecordedChunk(body[:9], 1), RecordedChunk(body[9:], 2)]
    assert undo_coding(headers, chunks) == ((("x", "1"),), (RecordedChunk(b"a tern", 2),))
