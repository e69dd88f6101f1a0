"""Which recordings are the nearest to a request."""

from aquila.cassettes.matching.nearest_recording import find_nearest_recordings
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse


def recording(body: bytes) -> Interaction:
    return Interaction(RecordedRequest("POST", "https://x.example/v1", (), body), RecordedResponse(200))


def test_of_recordings_that_hold_the_same_text_the_one_of_a_similar_length_is_nearer() -> None:
    body = b'{"prompt": "Tell me about eagles"}'
    recordings = [recording(body + b" " * 5000), recording(body + b" "), recording(body + b" " * 40)]
    asked = RecordedRequest("POST", "https://x.example/v1", (), body)
    assert find_nearest_recordings(asked, recordings, 3) == [1, 2, 0]
