"""Transcription: the request, the result, and that a recording answers for its own sound only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila import errors
from tests.support.engines import KEY, Engine
from tests.support.runs import separate_run
from tests.support.server import Answer, json_answer, serving

SOUND = b"RIFF1234WAVE" + bytes(range(256))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, outside pytest's rules and outside this test's scope."""
    with separate_run(tmp_path):
        yield tmp_path


def transcribe(engine: Engine, source: Any, **options: Any) -> Any:
    given = {"transport": "live", "api_key": KEY, **options}
    if engine.name == "sync":
        return aquila.transcribe(source, **given)
    return asyncio.run(aquila.atranscribe(source, **given))


def test_sound_and_options_are_sent_as_a_form(engine: Engine, folder: Path) -> None:
    (folder / "talk.wav").write_bytes(SOUND)
    with serving(json_answer({"text": "Hello."}, x_request_id="req_1")) as server:
        said = transcribe(
            engine,
            folder / "talk.wav",
            base_url=server.url,
            language="en",
            prompt="a greeting",
            temperature=0,
            metadata={"id": 1},
            provider_options={"chunking_strategy": "auto"},
        )
    assert str(said) == said.text == "Hello."
    assert said.raw == {"text": "Hello."}
    assert (said.meta["request_id"], said.meta["metadata"]) == ("req_1", {"id": 1})
    seen = server.seen[0]
    assert seen.path == "/v1/audio/transcriptions"
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    for part in (b'filename="talk.wav"', SOUND, b'name="language"', b"a greeting", b"gpt-4o-mini-transcribe", b"auto"):
        assert part in seen.body


def test_every_response_format_is_returned_unchanged(engine: Engine) -> None:
    verbose = {"text": "Hi", "language": "english", "duration": 1.5, "segments": [{"id": 0, "text": "Hi"}]}
    srt = Answer([b"1\n00:00:00,000 --> 00:00:01,000\nHi\n\n"], content_type="text/plain; charset=utf-8")
    with serving(json_answer(verbose), srt, srt, json_answer(verbose)) as server:
        url = server.url
        told = transcribe(engine, SOUND, base_url=url, model="whisper-1", response_format="verbose_json")
        assert (told.language, told.duration, told.segments) == ("english", 1.5, ({"id": 0, "text": "Hi"},))
        assert transcribe(engine, SOUND, base_url=url, response_format="srt").text.endswith("Hi")
        assert transcribe(engine, SOUND, base_url=url, response_format="srt", raw=True).startswith("1\n00:00")
        assert transcribe(engine, SOUND, base_url=url, raw=True) == verbose
    assert b'filename="audio.wav"' in server.seen[0].body
    assert b"whisper-1" in server.seen[0].body


def test_subtitles_may_have_the_content_type_text_vtt(engine: Engine) -> None:
    with serving(Answer([b"WEBVTT\n\nHi\n"], content_type="text/vtt")) as server:
        assert transcribe(engine, SOUND, base_url=server.url, response_format="vtt").text == "WEBVTT\n\nHi"


def test_recording_replays_for_the_same_sound_and_misses_for_another(engine: Engine) -> None:
    with serving(json_answer({"text": "Hello."})) as server:
        url = server.url
        where = {"base_url": url, "cassette": "talk"}
        transcribe(engine, SOUND, transport="record", **where)
    replay: dict[str, Any] = {**where, "transport": "replay", "api_key": None}
    assert transcribe(engine, SOUND, **replay).text == "Hello."
    assert transcribe(engine, SOUND, **replay).text == "Hello."  # each with a boundary of its own
    with pytest.raises(errors.CassetteMiss):
        transcribe(engine, SOUND + b"!", **replay)
    with pytest.raises(errors.CassetteMiss):
        transcribe(engine, SOUND, language="de", **replay)


@pytest.mark.parametrize(
    ("name", "kind"), [("talk.m4a", b"audio/mp4"), ("TALK.WAV", b"audio/x-wav"), ("talk.flac", b"audio/flac")]
)
def test_content_type_of_a_sound_does_not_depend_on_the_system(
    engine: Engine, name: str, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimetypes.guess_type", lambda name: (None, None))  # as without a table of the system
    with serving(json_answer({"text": "Hello."})) as server:
        transcribe(engine, SOUND, base_url=server.url, filename=name)
    assert b"Content-Type: %s\r\n" % kind in server.seen[0].body


def test_errors_are_translated_as_for_any_call(engine: Engine) -> None:
    refused = json_answer({"error": {"message": "bad sound"}}, 400)
    page = Answer([b"<html>"], content_type="text/html")
    with serving(refused, page) as server:
        with pytest.raises(errors.BadRequest, match="bad sound"):
            transcribe(engine, SOUND, base_url=server.url)
        with pytest.raises(errors.InvalidAnswer, match="HTML"):
            transcribe(engine, SOUND, base_url=server.url)


@pytest.mark.parametrize(("answer", "message"), [({"text": 5}, "text is a number"), ({"segments": 5}, "segments is a")])
def test_an_odd_answer_is_an_error_that_names_its_field(engine: Engine, answer: dict[str, Any], message: str) -> None:
    with serving(json_answer(answer)) as server, pytest.raises(errors.InvalidAnswer, match=message):
        transcribe(engine, SOUND, base_url=server.url)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("/no/such/file.wav", {}, "cannot be read: No such file"),
        (b"", {}, "the sound is empty"),
        (5, {}, "takes a path or bytes, not int"),
        (SOUND, {"response_format": "mp3"}, "'response_format' must be one of 'json', 'text'"),
        (SOUND, {"language": 5}, "option 'language' must be text"),
        (SOUND, {"raw": "yes"}, "option 'raw' must be True or False"),
        (SOUND, {"tools": []}, "transcription has no option 'tools'"),
        (SOUND, {"temperature": 9}, "from 0 to 2"),
    ],
)
def test_what_cannot_be_sent_is_refused(engine: Engine, source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        transcribe(engine, source, **options)
