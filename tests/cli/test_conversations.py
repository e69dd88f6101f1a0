"""The commands about cassettes, with a cassette that holds a conversation over a WebSocket."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close
from tests.cassettes.web_socket_frames.conversations import received, sent, store
from tests.cli.conftest import Cassettes, conversation

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def talk(*words: str, end: Close | None = None) -> Interaction:
    """Someone asks for the sky, and gets words."""
    item = {"type": "message", "content": [{"type": "input_text", "text": "The sky?"}]}
    frames = [
        received({"type": "session.created"}),
        sent({"type": "conversation.item.create", "item": item}),
        sent(b"\0\1", is_text=False),
        *[received({"type": "response.output_text.delta", "delta": word}) for word in words],
        received({"type": "response.done", "response": {"usage": {"total_tokens": 20}}}),
        received({"type": "response.done", "response": {"usage": {"total_tokens": 11}}}),
        *([end] if end else []),
    ]
    response = RecordedResponse(101, chunks=tuple(store(*frames)), ended=500)
    return Interaction(RecordedRequest("GET", URL), response, "2026-11-24T12:00:00Z", kind="websocket")


def test_show_tells_what_was_asked_and_said(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    cassettes.write("a.yaml", talk("Blue", " by", " day"))
    row = cassettes.run("show", "a").out.splitlines()[3]
    assert row.split("  ")[1:3] == ["The sky?", "GET /v1/realtime"]
    assert [word in row for word in ("gpt-realtime", "101", "  31  ", "Blue by day")] == [True] * 4


def test_show_one_prints_the_conversation(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", talk("Blue", " by", " day", end=Close("provider", 1001, "going away")))
    out = cassettes.run("show", "a", "-n", "1").out
    assert f"#1  GET {URL}, recorded 2026-11-24T12:00:00Z" in out
    assert "101  after 0 ms, 9 messages, " in out
    item = '{"type": "message", "content": [{"type": "input_text", "text": "The sky?"}]}'
    assert out.endswith(
        "\n  < session.created\n"
        f'  > {{"type": "conversation.item.create", "item": {item}}}\n'
        "  > 2 bytes\n"
        "  < response.output_text.delta x 3, response.done x 2\n"
        "    Blue by day\n"
        "  closed by the provider: 1001 going away\n"
    )


def test_show_lists_the_frames_as_json(cassettes: Cassettes) -> None:
    cassettes.write("a.msgpack", talk(end=Close("client", 1000)))
    about = cassettes.run("show", "a.msgpack", "-n", "1", "--json").json
    assert (about["kind"], about["model"], about["prompt"]) == ("websocket", "gpt-realtime", "The sky?")
    frames = about["response"]["frames"]
    assert frames[0] == {"at": 0, "by": "provider", "text": '{"type": "session.created"}'}
    assert frames[2] == {"at": 0, "by": "client", "base64": "AAE="}
    assert frames[-1] == {"at": 0, "by": "client", "close": 1000, "reason": ""}


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ({"type": "response.create", "input": "Why?"}, "Why?"),
        ({"type": "response.create", "input": [{"role": "user", "content": "Why?"}]}, "Why?"),
        ({"type": "response.create", "response": {"input": [{"content": [{"text": "Why?"}]}]}}, "Why?"),
        ({"client_content": {"turns": [{"role": "user", "parts": [{"text": "Why?"}]}]}}, "Why?"),
        ({"type": "speak", "text": "Why?"}, "Why?"),
        ({"type": "stop"}, None),
        ([1], None),
    ],
)
def test_what_was_asked_is_found_in_each_protocol(message: Any, asked: str | None, cassettes: Cassettes) -> None:
    response = RecordedResponse(101, chunks=tuple(store(sent(message))))
    cassettes.write("a.yaml", Interaction(RecordedRequest("GET", URL), response, kind="websocket"))
    assert cassettes.run("show", "a", "--json").json[0]["prompt"] == asked


def test_the_model_may_be_named_in_a_message(cassettes: Cassettes) -> None:
    said = sent({"type": "response.create", "model": "gpt-5"}), sent({"setup": {"model": "models/gemini"}})
    rows = [
        Interaction(
            RecordedRequest("GET", "wss://a.example/v1"),
            RecordedResponse(101, chunks=tuple(store(each))),
            kind="websocket",
        )
        for each in said
    ]
    cassettes.write("a.yaml", *rows)
    assert [one["model"] for one in cassettes.run("show", "a", "--json").json] == ["gpt-5", "models/gemini"]


def test_the_model_may_be_named_in_the_query_alone(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", replace(talk("Blue"), upstream="live"))
    assert cassettes.run("list", "--json").json[0]["answered_by"] == ["live gpt-realtime"]
    assert "live gpt-realtime" in cassettes.run("list").out
    (shown,) = cassettes.run("show", "a", "--json").json
    assert (shown["model"], shown["answering_model"]) == ("gpt-realtime", "gpt-realtime")
    assert cassettes.run("stats", "--json").json["models"] == {"gpt-realtime": 1}
    refused = RecordedResponse(401, chunks=(RecordedChunk(b"no such key"),))
    cassettes.write("b.yaml", Interaction(RecordedRequest("GET", URL), refused, kind="websocket"))
    assert cassettes.run("show", "b", "--json").json[0]["model"] == "gpt-realtime"


def test_a_refused_handshake_is_shown_like_any_answer(cassettes: Cassettes) -> None:
    response = RecordedResponse(401, chunks=(RecordedChunk(b"no such key"),))
    cassettes.write("a.yaml", Interaction(RecordedRequest("GET", URL), response, kind="websocket"))
    assert cassettes.run("show", "a", "-n", "1").out.endswith("no such key\n")


def test_a_chunk_that_is_no_frame_is_shown_unchanged(cassettes: Cassettes) -> None:
    response = RecordedResponse(101, chunks=(RecordedChunk(b"no frame"),))
    cassettes.write("a.yaml", Interaction(RecordedRequest("GET", URL), response, kind="websocket"))
    assert cassettes.run("show", "a", "-n", "1").out.endswith("no frame\n")


def test_list_and_stats_count_conversations(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", talk("Blue"), conversation("one", "1"))
    assert cassettes.run("list", "--json").json[0]["interactions"] == 2
    sums = cassettes.run("stats", "--json").json
    assert (sums["conversations"], sums["tokens"]) == (1, 38)
    assert sums["models"] == {"gpt-realtime": 1, "gpt-4.1-mini": 1}
    assert "of them conversations 1" in " ".join(cassettes.run("stats").out.split())


def test_diff_shows_which_message_differs(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", talk("Blue", " by", " day"))
    cassettes.write("b.yaml", talk("Grey", " all", " day"))
    done = cassettes.run("diff", "a", "b")
    assert done.code == 1
    assert "changed answer #1  GET api.openai.com/v1/realtime\n    answer: [-Blue by-]{+Grey all+} day\n" in done.out
    assert cassettes.run("diff", "a", "a").code == 0


def ids(*names: str, **more: Any) -> Interaction:
    """Words, each with an id that the provider has made for it."""
    frames = [
        sent({"type": "response.create"}),
        *[received({"type": "response.output_text.delta", "item_id": name, "delta": "a"}) for name in names],
        received({"type": "response.done", "response": {"output": [{"id": name} for name in names], **more}}),
    ]
    response = RecordedResponse(101, chunks=tuple(store(*frames)), ended=500)
    return Interaction(RecordedRequest("GET", URL), response, kind="websocket")


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (ids("a", "b"), ids("c", "d"), "1 with other times, ids, token counts or headers\n"),
        (ids("a"), ids("a", created=1), "1 with other times, ids, token counts or headers\n"),
        (ids("a", voice="x"), ids("a", voice="y"), "    answer response.voice: [-x-]{+y+}\n"),
        (ids("a"), replace(ids("a"), response=replace(ids("a").response, end="closed")), "[-101-]{+101 closed+}\n"),
    ],
)
def test_diff_shows_what_differs_in_conversations_with_the_same_transcript(
    one: Interaction, other: Interaction, said: str, cassettes: Cassettes
) -> None:
    cassettes.write("a.yaml", one)
    cassettes.write("b.yaml", other)
    done = cassettes.run("diff", "a", "b")
    assert done.code == ("[-" in said)
    assert said in done.out


def test_the_formatting_of_json_is_no_difference(cassettes: Cassettes) -> None:
    rows = [received(b'{"type": "x", "n": 1}'), received(b'{"n":1,"type":"x"}')]
    for name, row in zip("ab", rows, strict=True):
        response = RecordedResponse(101, chunks=tuple(store(row)))
        cassettes.write(f"{name}.yaml", Interaction(RecordedRequest("GET", URL), response, kind="websocket"))
    assert cassettes.run("diff", "a", "b").code == 0


@pytest.mark.parametrize(("source", "to"), [("a.yaml", "msgpack"), ("a.msgpack", "yaml")])
def test_convert_turns_one_form_into_the_other(source: str, to: str, cassettes: Cassettes) -> None:
    interaction = talk("Blue", " by", " day", end=Close("client", 1000))
    cassettes.write(source, interaction)
    assert cassettes.run("convert", source, "--to", to, "--replace").code == 0
    assert cassettes.read(f"a.{to}").interactions == (interaction,)


def test_scan_finds_a_secret_that_was_said(cassettes: Cassettes) -> None:
    key = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5dE7fG9hJ1kL3"
    cassettes.write("a.yaml", talk("Blue"), talk("Your", f" key {key[:20]}", key[20:]))
    done = cassettes.run("scan")
    assert done.code == 1
    assert "a.yaml:51: OpenAI key" in done.out
    assert key[:20] not in done.out
    assert key[:20] not in cassettes.run("show", "a", "-n", "2").out


def test_merge_keeps_what_both_branches_recorded(cassettes: Cassettes) -> None:
    base = cassettes.write("base.yaml", talk("Blue"))
    again = replace(talk("Blue", " now"), recorded="2026-11-25T12:00:00Z")
    ours = cassettes.write("ours.yaml", again)
    theirs = cassettes.write("theirs.yaml", talk("Blue"), talk("Green"))
    assert cassettes.run("merge", str(base), str(ours), str(theirs), "cassettes/ours.yaml").code == 0
    assert cassettes.read("ours.yaml").interactions == (again, talk("Green"))


def speech(number: int) -> Interaction:
    def sound(at: int) -> str:
        return base64.b64encode(hashlib.shake_256(f"{number} {at}".encode()).digest(9000)).decode()

    frames = [
        *[sent({"type": "input_audio_buffer.append", "audio": sound(at)}) for at in range(20)],
        sent({"type": "input_audio_buffer.commit"}),
        *[received({"type": "response.output_audio.delta", "delta": sound(at)}) for at in range(20, 40)],
        received({"type": "response.output_audio_transcript.delta", "delta": "Blue by day"}),
        Close("client", 1000),
    ]
    response = RecordedResponse(101, chunks=tuple(store(*frames)), ended=500)
    return Interaction(RecordedRequest("GET", URL), response, "2026-11-24T12:00:00Z", kind="websocket")


def test_a_conversation_with_much_sound_shows_its_transcript(cassettes: Cassettes) -> None:
    path = cassettes.write("a.yaml", speech(1))
    text = path.read_text()
    assert len(text) < 6000
    assert "    - text: Blue by day\n      '<': |\n" in text
    (again,) = cassettes.read("a.yaml").interactions
    assert tuple(again.response.chunks) == speech(1).response.chunks
    assert cassettes.run("convert", "a", "--to", "yaml", "--replace").code == 0
    assert path.read_text() == text
    assert "Blue by day" in cassettes.run("show", "a").out


def images(number: int) -> Interaction:
    """Much that is no sound."""
    one = speech(number)
    chunks = [replace(chunk, data=chunk.data.replace(b"audio", b"video")) for chunk in one.response.chunks]
    return replace(one, response=replace(one.response, chunks=tuple(chunks)))


def test_a_conversation_with_much_data_is_stored_in_a_file_and_summarised(cassettes: Cassettes) -> None:
    path = cassettes.write("a.yaml", images(1))
    text = path.read_text()
    assert len(text) < 4000
    assert '    said: |\n      > {"type": "input_video_buffer.append", "video": "' in text
    assert '… (12,000 characters)"}\n' in text
    assert "      < response.output_video.delta x 20, response.output_video_transcript.delta\n" in text
    assert "      closed by the client: 1000\n" in text
    (again,) = cassettes.read("a.yaml").interactions
    assert tuple(again.response.chunks) == images(1).response.chunks
    assert cassettes.run("convert", "a", "--to", "yaml", "--replace").code == 0
    assert path.read_text() == text


def test_a_conversation_whose_file_is_missing_can_still_be_written(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", images(1))
    (interaction,) = cassettes.read("a.yaml").interactions
    for path in (cassettes.folder / "@bodies").glob("sha256-*"):
        path.unlink()
    unwritten = replace(interaction)  # of the other its text is still known
    assert b"said:" not in YamlCodec().dumps(Cassette((unwritten,)))


def spoken() -> Interaction:
    sound = base64.b64encode(bytes(range(256)) * 40).decode()
    frames = [sent({"type": "input_audio_buffer.append", "audio": sound}), Close("client", 1000)]
    response = RecordedResponse(101, chunks=tuple(store(*frames)))
    return Interaction(RecordedRequest("GET", URL), response, kind="websocket")


def test_files_with_sound_follow_their_cassette(cassettes: Cassettes) -> None:
    (sound,) = (cassettes.write("t/test_a/a.yaml", spoken()).parent / "@bodies").glob("*.wav")
    assert cassettes.run("scan").code == 0
    assert cassettes.run("prune").out == "nothing to remove\n"
    assert "input_audio_buffer.append" in cassettes.run("show", "t/test_a/a", "-n", "1").out
    assert cassettes.run("mv", "t/test_a/a", "t/test_b/b").code == 0
    assert not sound.exists()
    assert cassettes.run("convert", "t/test_b/b", "--to", "msgpack", "--replace").code == 0
    (sound,) = cassettes.folder.rglob("*.wav")
    assert sound.parent == cassettes.folder / "t/test_b/@bodies"
    assert cassettes.read("t/test_b/b.msgpack").interactions[0].response.body == spoken().response.body
    assert cassettes.run("prune").out == "nothing to remove\n"
    assert cassettes.run("diff", "t/test_b/b.msgpack", "t/test_b/b.msgpack").code == 0
    (cassettes.folder / "t/test_b/b.msgpack").unlink()
    assert sound.name in cassettes.run("prune").out
    cassettes.write("c.yaml", spoken())
    (sound,) = (cassettes.folder / "@bodies").glob("*.wav")
    sound.write_bytes(b"x" + sound.read_bytes()[1:])
    assert f"cassettes/@bodies/{sound.name}: the body of a recording was changed" in cassettes.run("list").out
