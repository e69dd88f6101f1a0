"""Conversations as tests write them."""

import json
from typing import Any

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import End, RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Close, Frame, store_close, store_frame
from aquila.cassettes.web_socket_frames.replay import ConversationReplay, FrameMiss

DEFAULT = MatchRules()


def encode(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def sent(value: Any, *, is_text: bool = True) -> Frame:
    return Frame(encode(value), sent=True, is_text=is_text)


def received(value: Any, *, is_text: bool = True) -> Frame:
    return Frame(encode(value), sent=False, is_text=is_text)


def store(*frames: Frame | Close) -> list[RecordedChunk]:
    return [store_close(each) if isinstance(each, Close) else store_frame(each) for each in frames]


def replay_of(
    *frames: Frame | Close, end: End = "complete", rules: MatchRules = DEFAULT, name: str = ""
) -> ConversationReplay:
    def redact(data: bytes) -> bytes:
        return data.replace(b"sk-secret", b"X")

    return ConversationReplay(store(*frames), end, rules=rules, redact=redact, name=name)


def send(replay: ConversationReplay, value: Any, *, is_text: bool = True) -> FrameMiss | None:
    return replay.take_sent(encode(value), is_text)


def miss_of(replay: ConversationReplay, value: Any, *, is_text: bool = True) -> FrameMiss:
    miss = send(replay, value, is_text=is_text)
    assert miss is not None
    return miss


def texts_of(frames: list[Frame]) -> list[str]:
    return [frame.data.decode() for frame in frames]


def values_of(frames: list[Frame]) -> list[Any]:
    return [json.loads(frame.data) for frame in frames]
