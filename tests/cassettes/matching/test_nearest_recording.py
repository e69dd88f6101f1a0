"""Which recordings are the nearest to a request."""

from pathlib import Path

from aquila.cassettes.body_file import PREFIX, BodyFile, StoredRequest
from aquila.cassettes.matching.nearest_recording import find_nearest_recordings
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse


def recording(body: bytes) -> Interaction:
    return Interaction(RecordedRequest("POST", "https://x.example/v1", (), body), RecordedResponse(200))


def test_of_recordings_that_hold_the_same_text_the_one_of_a_similar_length_is_nearer() -> None:
    body = b'{"prompt": "Tell me about eagles"}'
    recordings = [recording(body + b" " * 5000), recording(body + b" "), recording(body + b" " * 40)]
    asked = RecordedRequest("POST", "https://x.example/v1", (), body)
    assert find_nearest_recordings(asked, recordings, 3) == [1, 2, 0]


def test_of_a_body_in_a_file_only_the_ends_are_read(tmp_path: Path) -> None:
    name, size = PREFIX + "0" * 64, 1024 * 1024
    # To read it as a whole would raise `CassetteCorrupt`, because its content does not have the hash in its name.
    (tmp_path / name).write_bytes(b"eagles".ljust(size))
    stored = StoredRequest("POST", "https://x.example/v1", (), BodyFile(name, size, tmp_path))
    recordings = [recording(b"terns".ljust(size)), Interaction(stored, RecordedResponse(200))]
    asked = RecordedRequest("POST", "https://x.example/v1", (), b"eagles".ljust(size))
    assert find_nearest_recordings(asked, recordings, 2) == [1, 0]
