"""A secret that is said over a WebSocket is not stored, whatever frame it is in."""

import random
from typing import Any

import pytest

from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction import scrubber, secret_patterns
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames
from tests.cassettes.web_socket_frames.conversations import received, sent, store

KEY = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5dE7fG9hJ1kL3"
LINES = "the-first-a9\nthe-second-b8"


def redacted(*frames: Frame, redactor: Redactor | None = None) -> list[Frame | Close]:
    response = RecordedResponse(101, chunks=tuple(store(*frames)))
    return list(read_frames((redactor or Redactor()).redact_response(response).chunks))


@pytest.mark.parametrize("write", [sent, received])
@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("key", [KEY, LINES], ids=["key", "lines"])
@pytest.mark.parametrize("data", ['{"key": "KEY"}', '{\r\n"key": "KEY"\r\n}', "\0 KEY \0", "KEY", "a\n\nKEY\n\nKEY b"])
def test_no_form_of_a_frame_hides_a_secret(write: Any, is_text: bool, data: str, key: str) -> None:
    (frame,) = redacted(write(data.replace("KEY", key).encode(), is_text=is_text), redactor=Redactor({LINES: "lines"}))
    assert isinstance(frame, Frame)
    assert frame.data.decode() == data.replace("KEY", "[redacted]")
    assert frame.is_text == is_text


def test_a_secret_is_found_that_is_split_over_deltas_between_other_messages() -> None:
    pieces = [KEY[at : at + 10] for at in range(0, len(KEY), 10)]
    deltas = [received({"type": "response.output_text.delta", "item_id": "a", "delta": piece}) for piece in pieces]
    frames = redacted(sent({"type": "response.create"}), *deltas, sent({"type": "response.create"}))
    assert len(frames) == len(deltas) + 2
    text = b"".join([frame.data for frame in frames if isinstance(frame, Frame)])
    assert b"[redacted]" in text
    assert not any(piece.encode() in text for piece in pieces)


def test_the_next_message_of_a_client_is_not_taken_for_the_rest_of_a_key() -> None:
    first, second = redacted(sent({"text": f"my key is {KEY}"}), sent({"text": "plain words"}))
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert first.data == b'{"text": "my key is [redacted]"}'
    assert second.data == b'{"text": "plain words"}'


def test_client_secrets_that_last_a_minute_are_secrets() -> None:
    (frame,) = redacted(received({"client_secret": {"value": "ek_68af296e8e408191a1120a5b1e3b7f3d"}}))
    assert isinstance(frame, Frame)
    assert frame.data == b'{"client_secret": {"value": "[redacted]"}}'


def test_the_key_of_the_handshake_is_not_stored_where_it_is_echoed() -> None:
    key = "a-key-of-nobodys-own-form-1"
    request = RecordedRequest("GET", f"wss://a.example/live?key={key}", (("authorization", "Bearer other-key-2-2"),))
    said = [received({"echo": key}), received(b"\0other-key-2-2", is_text=False)]
    response = RecordedResponse(101, chunks=tuple(store(*said)))
    clean = Redactor().redact_interaction(Interaction(request, response, kind="websocket"))
    assert [frame.data for frame in read_frames(clean.response.chunks) if isinstance(frame, Frame)] == [
        b'{"echo": "[redacted]"}',
        b"\0[redacted-2]",
    ]
    assert key not in clean.request.url


def test_a_conversation_without_secrets_is_the_same_object() -> None:
    response = RecordedResponse(101, chunks=tuple(store(sent({"a": 1}), received(b"\0", is_text=False))))
    assert Redactor().redact_response(response) is response


@pytest.mark.parametrize("hidden", [KEY, f'{{"api_key": "{KEY}"}}', KEY.replace("-", "\\u002d"), "other-key-2"])
def test_a_secret_is_found_anywhere_in_much_that_is_no_text(hidden: str) -> None:
    around = random.Random(1).randbytes(200_000)
    request = RecordedRequest("GET", "wss://a.example/live", (("authorization", "Bearer other-key-2"),))
    said = [received(around + hidden.encode() + around, is_text=False), received({"a": "b"})]
    response = RecordedResponse(101, chunks=tuple(store(*said)))
    clean = Redactor().redact_interaction(Interaction(request, response, kind="websocket"))
    frame, words = read_frames(clean.response.chunks)
    assert isinstance(frame, Frame)
    assert frame.data.startswith(around[:-20])
    assert frame.data.endswith(around[20:])
    assert b"[redacted" in frame.data
    assert hidden[-20:].encode() not in frame.data
    assert words == received({"a": "b"})


def test_a_message_is_compared_as_it_was_stored() -> None:
    data = random.Random(2).randbytes(3000) + KEY.encode() + random.Random(3).randbytes(3000)
    (frame,) = redacted(sent(data, is_text=False))
    assert isinstance(frame, Frame)
    assert Redactor().redact_message(data) == Redactor().redact_message(frame.data) == frame.data


def test_binary_data_that_was_searched_is_not_searched_again_in_base64(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    find = secret_patterns.find_secret_patterns

    def note(data: bytes, *args: Any, **kwargs: Any) -> Any:
        searched.append(len(data))
        return find(data, *args, **kwargs)

    monkeypatch.setattr(scrubber, "find_secret_patterns", note)
    redacted(received(random.Random(1).randbytes(500_000), is_text=False), received({"type": "response.done"}))
    assert sum(searched) < 5_000
