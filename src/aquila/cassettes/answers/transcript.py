"""A conversation over a WebSocket as lines, for people who read a cassette. A replay never uses these lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aquila.cassettes.answers.answer_text import text_of_messages
from aquila.cassettes.web_socket_frames.frame import Close, Frame, parse_object

_MOST_KINDS = 12
"""The most kinds of messages that one line names."""

_DATA = re.compile(r'"([A-Za-z0-9+/=_-]{160,})"')
"""A long text in JSON that is data, such as sound in base64."""


def write_transcript(said: Iterable[Frame | Close]) -> Iterator[str]:
    """Yield a conversation as lines. ``>`` begins a message of the client, ``<`` a turn of the provider."""
    for received, turn in itertools.groupby(said, lambda each: isinstance(each, Frame) and not each.sent):
        if received:
            frames = [each for each in turn if isinstance(each, Frame)]
            yield f"< {_name_kinds(frames)}"
            yield from (f"  {line}" for line in text_said(frames).splitlines())
            continue
        for line, same in itertools.groupby(turn, _describe):
            count = len(list(same))
            yield line if count == 1 else f"{line} x {count:,}"


def text_said(said: Sequence[Frame | Close]) -> str:
    """Return the text of the provider's messages."""
    frames = [each for each in said if isinstance(each, Frame) and not each.sent]
    objects = [frame.data for frame in frames if read_object(frame) is not None]
    return text_of_messages(objects) if objects else "\n".join(map(_show, frames))


def read_object(frame: Frame) -> dict[str, Any] | None:
    """Return a message that is a JSON object; None for any other message."""
    return parse_object(frame.data) if frame.data.lstrip()[:1] == b"{" else None


def _name_kinds(frames: Sequence[Frame]) -> str:
    """Name the kinds of messages, by their ``type`` or their first key. Equal kinds in a row are counted."""
    runs = [(kind, len(list(run))) for kind, run in itertools.groupby(map(_kind_of, frames))]
    named = [kind if count == 1 else f"{kind} x {count:,}" for kind, count in runs[:_MOST_KINDS]]
    more = sum(count for _, count in runs[_MOST_KINDS:])
    return ", ".join([*named, f"{more:,} more"] if more else named)


def _kind_of(frame: Frame) -> str:
    value = read_object(frame)
    if value:
        kind = value.get("type")
        return kind if isinstance(kind, str) else next(iter(value))
    return "text" if frame.is_text else "binary"


def _describe(each: Frame | Close) -> str:
    if isinstance(each, Close):
        return f"closed by the {each.by}: {' '.join(filter(None, (str(each.code), each.reason)))}"
    return f"> {_show(each)}"


def _show(frame: Frame) -> str:
    if not frame.is_text and read_object(frame) is None:
        return f"{len(frame.data):,} byte{'s' if len(frame.data) != 1 else ''}"
    return _DATA.sub(_describe_data, frame.data.decode("utf-8", "backslashreplace"))


def _describe_data(found: re.Match[str]) -> str:
    return f'"{found[1][:12]}… ({len(found[1]):,} characters)"'
