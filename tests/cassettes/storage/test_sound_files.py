"""The sound of a conversation lies in files that can be played, and its frames come back byte by byte."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import sound_files
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.cassettes.storage.large_bodies import check_bodies, find_unused_bodies
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks
from aquila.cassettes.web_socket_frames.stored_frames import StoredFrames, open_frames
from aquila.errors import CassetteCorrupt
from tests.cassettes.web_socket_frames.conversations import received, sent, store
from tests.support.examples import examples

REALTIME = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
PCM = bytes(range(256)) * 40
DECLARED = {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcm", "rate": 16000}}}


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pieces_of(data: bytes, size: int = 1600) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def say(data: bytes, item: str = "item_1") -> list[Frame]:
    kind = "response.output_audio.delta"
    return [received({"type": kind, "item_id": item, "delta": encode(piece)}) for piece in pieces_of(data)]


def hear(data: bytes) -> list[Frame]:
    return [sent({"type": "input_audio_buffer.append", "audio": encode(piece)}) for piece in pieces_of(data)]


def save(path: Path, said: Iterable[Frame | Close], url: str = REALTIME) -> list[RecordedChunk]:
    chunks = store(*said)
    response = RecordedResponse(101, chunks=tuple(chunks))
    conversation = Interaction(RecordedRequest("GET", url), response, kind="websocket")
    save_cassette(path, Cassette.from_interactions([conversation]))
    return chunks


def chunks_in(path: Path) -> Any:
    return load_cassette(path).interactions[0].response.chunks


def sounds_of(path: Path) -> list[bytes]:
    return [sound.read() for sound in chunks_in(path).sounds]


@pytest.mark.parametrize("suffix", [".yaml", ".msgpack"])
def test_sound_lies_in_files_that_can_be_played(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    session = received({"type": "session.created", "session": {"audio": DECLARED}})
    commit = sent({"type": "input_audio_buffer.commit"})
    said = save(path, [session, *hear(PCM), commit, *say(PCM), *say(PCM[::-1], "item_2"), Close("client", 1000)])
    chunks = chunks_in(path)
    assert isinstance(chunks, SoundChunks)
    assert list(chunks) == said
    assert [chunks[place] for place in (-1, 3)] == [said[-1], said[3]]
    assert list(chunks[2:9]) == said[2:9]
    heard, first, second = sounds_of(path)
    assert heard[20:24] == struct.pack("<HH", 7, 1)
    assert heard.endswith(b"data" + struct.pack("<I", len(PCM)) + PCM)
    for sound, samples in ((first, PCM), (second, PCM[::-1])):
        place = tmp_path / "sound.wav"
        place.write_bytes(sound)
        with wave.open(str(place)) as played:
            assert (played.getnchannels(), played.getsampwidth(), played.getframerate()) == (1, 2, 16000)
            assert played.readframes(10**9) == samples


def test_the_cassette_says_in_words_where_sound_stands(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    save(path, [*hear(PCM), *say(PCM)])
    text = path.read_text()
    assert len(text) < 3_000
    assert "audio: sound 1 from 44, 1600 bytes" in text
    assert '"sound 2 from 1644, 1600 bytes"' in text
    assert re.search(r"sounds:\n    - \{file: sha256-\w{64}\.wav, size: 10284\}", text)


@pytest.mark.parametrize(
    ("message", "url", "form"),
    [
        ({"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=8000"}}]}}}, "", 8000),
        ({"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm"}}]}}}, "", 24000),
        (None, "?encoding=linear16&sample_rate=48000", 48000),
        (None, "", None),
    ],
)
def test_the_format_is_what_the_conversation_says(
    tmp_path: Path, message: dict[str, Any] | None, url: str, form: int | None
) -> None:
    frames = [received(piece, is_text=False) for piece in pieces_of(PCM)]
    if message is not None:
        blob = message["serverContent"]["modelTurn"]["parts"][0]["inlineData"]
        frames = [received(message) for piece in pieces_of(PCM) if blob.update(data=encode(piece)) is None]
    path = tmp_path / "x.yaml"
    said = save(path, frames, f"wss://speech.example/v1{url}")
    assert list(chunks_in(path)) == said
    (file,) = chunks_in(path).sounds
    assert file.path.suffix == (".raw" if form is None else ".wav")
    if form is not None:
        with wave.open(str(file.path)) as played:
            assert played.getframerate() == form
    else:
        assert file.read() == PCM
        assert "'< sound': sound 1 from 0, 1600 bytes" in path.read_text()


@pytest.mark.parametrize(("beginning", "suffix"), [(b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"RIFF", ".wav")])
def test_sound_in_a_format_of_its_own_stays_as_it_is(tmp_path: Path, beginning: bytes, suffix: str) -> None:
    data = beginning + PCM
    save(tmp_path / "x.yaml", say(data))
    (file,) = chunks_in(tmp_path / "x.yaml").sounds
    assert (file.path.suffix, file.read()) == (suffix, data)


@pytest.mark.parametrize(
    "frames",
    [
        say(PCM[:1000]),  # little
        [received({"type": "reasoning", "encrypted_content": encode(PCM)})],  # nobody speaks of audio
        [*say(PCM), received({"type": "x", "text": "sound 1 from 44, 1600 bytes"})],  # looks like a reference
        [received({"type": "audio", "delta": encode(PCM), "again": encode(PCM)})],  # which of them?
        [received({"type": "audio", "delta": encode(PCM + b"1")[:-2] + "B="})],  # no encoder writes it so
    ],
)
def test_what_cannot_be_told_apart_stays_in_the_frames(tmp_path: Path, frames: list[Frame]) -> None:
    said = save(tmp_path / "x.yaml", frames)
    assert isinstance(chunks_in(tmp_path / "x.yaml"), tuple)
    assert list(chunks_in(tmp_path / "x.yaml")) == said


def test_what_the_client_says_between_parts_its_sounds(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    end = [received({"serverContent": {"turnComplete": True}}), sent({"type": "input_audio_buffer.commit"})]
    spoken = [received({"audio": encode(piece)}) for piece in pieces_of(PCM)]
    save(path, [*hear(PCM), *spoken, *end, *hear(PCM[::-1]), *spoken])
    assert len(sounds_of(path)) == 4


audio = st.binary(max_size=60).map(lambda data: data * 40)
other = st.sampled_from([{"type": "response.done"}, {"type": "input_audio_buffer.commit"}, {"turnComplete": True}])
messages = st.one_of(
    audio.map(lambda data: {"type": "input_audio_buffer.append", "audio": encode(data)}),
    st.tuples(audio, st.sampled_from("ab")).map(
        lambda of: {"type": "x.audio.delta", "delta": encode(of[0]), "item_id": of[1]}
    ),
    audio.map(lambda data: {"type": "audio", "parts": [{"data": encode(data)}, {"data": encode(data + b"x")}]}),
    audio.map(lambda data: {"audio": base64.urlsafe_b64encode(data).decode()}),
    audio.map(lambda data: {"audio": encode(data) + "="}),
    st.just({"text": "sound 1 from 0, 1 bytes"}),
    other,
)
frames = st.builds(
    Frame,
    messages.map(lambda value: json.dumps(value).encode())
    | messages.map(lambda value: json.dumps(value, indent=1).encode())
    | audio,
    st.booleans(),
    st.just(False) | st.just(True),
    st.integers(0, 9),
).filter(lambda frame: not frame.is_text or frame.data[:1] == b"{")


@given(st.lists(frames, max_size=12), st.sampled_from([".yaml", ".msgpack"]), st.sampled_from([1, 500, 4096]))
@settings(max_examples=examples(100), deadline=None)
def test_every_byte_comes_back(
    tmp_path_factory: pytest.TempPathFactory, said: list[Frame], suffix: str, small: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound_files, "SMALL", small)
        path = tmp_path_factory.mktemp("x") / f"x{suffix}"
        stored = save(path, [*said, Close("provider", 1000)])
        assert list(chunks_in(path)) == stored
        if isinstance(chunks_in(path), SoundChunks):
            check_bodies(load_cassette(path))
            assert not find_unused_bodies(path.parent)


def test_an_hour_of_sound_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_files, "LARGE_STREAM", 2_000)
    monkeypatch.setattr("aquila.cassettes.web_socket_frames.stored_frames.LARGE_STREAM", 2_000)
    path = tmp_path / "x.yaml"
    said = save(path, [*hear(PCM), *say(PCM * 2), Close("client", 1000)])
    chunks = chunks_in(path)
    assert isinstance(chunks.templates, StoredChunks)
    assert list(chunks) == said
    found, close = open_frames(chunks)
    assert isinstance(found, StoredFrames)
    assert (list(map(store_frame, found)), store_close(close or Close("client", 0))) == (said[:-1], said[-1])
    assert "> input_audio_buffer.append" in path.read_text() or "said:" in path.read_text()
    assert not find_unused_bodies(tmp_path)
    check_bodies(load_cassette(path))


def test_a_file_of_sound_that_was_changed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    save(path, say(PCM))
    (file,) = chunks_in(path).sounds
    file.path.write_bytes(file.read()[:-1] + b"\xfe")
    with pytest.raises(CassetteCorrupt, match=r"\.wav: the body of a recording was changed"):
        list(chunks_in(path))
    file.path.unlink()
    with pytest.raises(CassetteCorrupt, match=r"\.wav: the body of a recording is missing"):
        open_frames(chunks_in(path))


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("sound 1 from", "sound 3 from", "there is no sound 3"),
        ("from 1644, 1600", "from 1644, 9999", "the file of sound 1 is too short"),
        (".wav", ".exe", "'file' must be sha256- and the hash of the body"),
        ("sounds:", "tones:", "unknown key 'tones'"),
    ],
)
def test_a_mistake_in_a_reference_is_named(tmp_path: Path, before: str, after: str, what: str) -> None:
    path = tmp_path / "x.yaml"
    save(path, say(PCM))
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(CassetteCorrupt, match=re.escape(what)):
        load_cassette(path)


def test_the_same_sound_is_recorded_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.yaml", say(PCM))
    assert len(list((tmp_path / "@bodies").glob("*.wav"))) == 1
    assert load_cassette(tmp_path / "a.yaml") == load_cassette(tmp_path / "b.yaml")
    save_cassette(tmp_path / "a.yaml", load_cassette(tmp_path / "b.yaml"))
    assert chunks_in(tmp_path / "a.yaml") == chunks_in(tmp_path / "b.yaml")


def test_sound_goes_along_to_another_folder(tmp_path: Path) -> None:
    before, after = tmp_path / "a.yaml", tmp_path / "sub" / "b.msgpack"
    said = save(before, [*hear(PCM), *say(PCM)])
    save_cassette(after, load_cassette(before))
    shutil.rmtree(tmp_path / "@bodies")
    assert list(chunks_in(after)) == said


def test_a_session_of_the_older_realtime_api_says_the_formats_of_its_sound(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    formats = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_alaw"}
    save(path, [received({"type": "session.created", "session": formats}), *hear(PCM), *say(PCM)])
    assert [sound[20:22] for sound in sounds_of(path)] == [struct.pack("<H", tag) for tag in (7, 6)]


def test_a_conversation_of_many_sounds_opens_few_files_at_a_time(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    turns = 60
    chunks = save(
        tmp_path / "x.yaml", [one for turn in range(turns) for one in say(PCM + bytes([turn]), f"item_{turn}")]
    )
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 200
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, before[1]))
    try:
        assert tuple(chunks_in(tmp_path / "x.yaml")) == tuple(chunks)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
