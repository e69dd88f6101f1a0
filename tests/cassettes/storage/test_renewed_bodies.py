"""Recording again replaces bodies whose files are missing or damaged, also if the recording is equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.body_writer import write_body

BODY = b"0123456789abcdef" * 65_536


@pytest.mark.parametrize("damaged", [None, b"!" * len(BODY)])
def test_an_equal_recording_restores_the_file_of_its_body(damaged: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "large.yaml"
    chunks = StoredChunks.from_sizes(write_body(tmp_path / "journal", [BODY]), [len(BODY)], [5])
    request = RecordedRequest("GET", "https://provider.example/file")
    recorded = Cassette((Interaction(request, RecordedResponse(200, chunks=chunks)),))
    cassette_files.save_cassette(path, recorded)
    (body,) = (path.parent / "@bodies").glob("sha256-*")
    body.unlink()
    if damaged is not None:
        body.write_bytes(damaged)
    cassette_files.update_cassette(path, lambda stored: recorded, root=path.parent)
    assert body.read_bytes() == BODY
