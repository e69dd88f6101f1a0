"""Sound that a client sends is compared by its bytes, however it is cut."""

import base64
from typing import Any

import pytest

from tests.cassettes.web_socket_frames.conversations import miss_of, received, replay_of, send, sent, texts_of
from tests.support.slow import slow_but

SOUND = bytes(range(256))[::-1] * 4


def append(data: bytes) -> Any:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}


def realtime_input(data: bytes) -> Any:
    return {"realtime_input": {"media_chunks": [{"data": base64.b64encode(data).decode(), "mime_type": "audio/pcm"}]}}


def in_the_alphabet_of_urls(data: bytes) -> Any:
    return {"realtime_input": {"audio": {"data": base64.urlsafe_b64encode(data).decode(), "mime_type": "audio/pcm"}}}


def of_another_protocol(data: bytes) -> Any:
    return {"kind": "sound", "payload": {"samples": base64.b64encode(data).decode()}}


WRITERS = [append, realtime_input, in_the_alphabet_of_urls, of_another_protocol, bytes]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("size", slow_but([7, 256], [1, 7, 200, 256, 300, 1024]))
def test_sound_may_be_cut_otherwise(write: Any, size: int) -> None:
    is_text = write is not bytes
    frames = [sent(write(piece), is_text=is_text) for piece in cut(SOUND, 300)]
    replay = replay_of(*frames, sent(COMMIT), received(1))
    for piece in cut(SOUND, size):
        assert send(replay, write(piece), is_text=is_text) is None
    assert replay.deliverable() == []
    assert send(replay, COMMIT) is None
    assert texts_of(replay.deliverable()) == ["1"]
    assert replay.ended is not None


@pytest.mark.parametrize("write", WRITERS)
def test_other_bytes_of_sound_are_a_miss(write: Any) -> None:
    is_text = write is not bytes
    replay = replay_of(*[sent(write(piece), is_text=is_text) for piece in cut(SOUND, 300)])
    assert send(replay, write(SOUND[:500]), is_text=is_text) is None
    miss = miss_of(replay, write(b"\0" * 100), is_text=is_text)
    assert miss.title == (
        "the sound that the client sends differs from message 2 of 4 that it had sent: its bytes differ"
    )


def test_a_frame_of_the_provider_follows_as_many_bytes_as_had_been_sent() -> None:
    replay = replay_of(sent(append(SOUND[:400])), received(1), sent(append(SOUND[400:])), received(2))
    assert send(replay, append(SOUND[:399])) is None
    assert replay.deliverable() == []
    assert send(replay, append(SOUND[399:600])) is None
    assert texts_of(replay.deliverable()) == ["1"]
    assert send(replay, append(SOUND[600:])) is None
    assert texts_of(replay.deliverable()) == ["2"]


def test_sound_that_ends_early_is_a_miss_where_the_next_message_comes() -> None:
    replay = replay_of(*[sent(append(piece)) for piece in cut(SOUND, 300)], sent(COMMIT))
    assert send(replay, append(SOUND[:1000])) is None
    assert miss_of(replay, COMMIT).title.endswith("it ends 24 bytes earlier")


def test_a_silence_tells_how_much_sound_is_missing() -> None:
    replay = replay_of(*[sent(append(piece)) for piece in cut(SOUND, 300)], received(1))
    assert replay.awaited == "> input_audio_buffer.append"
    assert send(replay, append(SOUND[:1000])) is None
    assert replay.awaited == "> input_audio_buffer.append, 24 more bytes of sound"


def test_longer_sound_is_a_miss() -> None:
    replay = replay_of(sent(append(SOUND[:300])), sent(COMMIT))
    assert miss_of(replay, append(SOUND[:301])).title.endswith("it goes on where the recorded one ends")


def test_sound_after_the_last_message_is_played_out() -> None:
    replay = replay_of(sent(append(SOUND)))
    assert send(replay, append(SOUND)) is None
    assert miss_of(replay, append(SOUND)).played_out


def test_pieces_of_nothing_need_not_be_sent_and_may_be() -> None:
    recorded = [sent(append(each)) for each in (b"", SOUND, b"", b"")]
    replay = replay_of(*recorded, received(1), sent(COMMIT))
    assert send(replay, append(SOUND)) is None
    assert texts_of(replay.deliverable()) == ["1"]
    assert send(replay, COMMIT) is None
    replay = replay_of(sent(append(SOUND)))
    for each in (b"", SOUND[:1], b"", SOUND[1:]):
        assert send(replay, append(each)) is None


def test_the_fields_beside_the_sound_count() -> None:
    replay = replay_of(sent(realtime_input(SOUND)))
    other = realtime_input(SOUND)
    other["realtime_input"]["media_chunks"][0]["mime_type"] = "audio/wav"
    miss = miss_of(replay, other)
    assert miss.difference is not None
    assert miss.difference.startswith("realtime_input.media_chunks[0].mime_type: recorded 'audio/pcm', now 'audio/wav'")


def test_one_long_text_alone_is_no_sound() -> None:
    replay = replay_of(sent(of_another_protocol(SOUND)))
    assert not miss_of(replay, of_another_protocol(SOUND[:300])).played_out


def test_sound_of_two_streams_is_told_apart() -> None:
    one, two = SOUND, SOUND[::-1]
    replay = replay_of(
        *[sent({"stream_id": name, **append(each)}) for at in (0, 512) for name, each in
          (("a", one[at : at + 512]), ("b", two[at : at + 512]))],
    )  # fmt: skip
    for piece in cut(two, 100):
        assert send(replay, {"stream_id": "x", **append(piece)}) is None
    for piece in cut(one, 1000):
        assert send(replay, {"stream_id": "y", **append(piece)}) is None
    assert replay.ended is not None


COMMIT = {"type": "input_audio_buffer.commit"}
OTHER = {"type": "conversation.item.create", "item": {"call_id": "call_1"}}
ANOTHER = {"type": "response.create"}
DUPLEX = [
    *[sent(append(SOUND[at : at + 100])) for at in (0, 100)],
    received(1),
    sent(OTHER),
    *[sent(append(SOUND[at : at + 100])) for at in (200, 300)],
    sent(ANOTHER),
    received(2),
    sent(COMMIT),
    sent({"type": "session.update"}),
]


@pytest.mark.parametrize("first", [0, 100, 150, 200, 350, 400])
@pytest.mark.parametrize("second", [0, 100, 200, 250, 400])
def test_a_message_that_is_no_sound_may_come_between_any_pieces_of_sound(first: int, second: int) -> None:
    replay = replay_of(*DUPLEX)
    got: list[str] = []
    said = sorted([(max(first, 10), 0, OTHER), (max(first, second, 10), 1, ANOTHER)], key=lambda row: row[:2])
    at = 0
    for until, _, message in [*said, (400, 2, COMMIT)]:
        for piece in cut(SOUND[at:until], 70):
            assert send(replay, append(piece)) is None
            got += texts_of(replay.deliverable())
        at = until
        if message is COMMIT:
            assert got == ["1", "2"]
        assert send(replay, message) is None
        got += texts_of(replay.deliverable())
    assert miss_of(replay, ANOTHER).difference
    assert send(replay, {"type": "session.update"}) is None
    assert replay.ended is not None


def test_messages_between_sound_keep_their_order_and_do_not_pass_its_ends() -> None:
    replay = replay_of(*DUPLEX)
    assert send(replay, append(SOUND[:10])) is None
    assert miss_of(replay, ANOTHER).difference
    assert miss_of(replay, {"type": "session.update"}).difference
    assert miss_of(replay, COMMIT).title.endswith("it ends 390 bytes earlier")
    assert send(replay, append(SOUND[10:400])) is None
    assert miss_of(replay, COMMIT).difference
    assert miss_of(replay, append(SOUND[:100])).difference
    assert miss_of(replay_of(*DUPLEX), OTHER).difference


def test_a_provider_frame_waits_for_what_floats_before_it() -> None:
    replay = replay_of(*DUPLEX)
    assert send(replay, append(SOUND[:400])) is None
    assert texts_of(replay.deliverable()) == ["1"]
    assert replay.awaited == "> conversation.item.create"
    assert send(replay, OTHER) is None
    assert replay.deliverable() == []
    assert send(replay, ANOTHER) is None
    assert texts_of(replay.deliverable()) == ["2"]
