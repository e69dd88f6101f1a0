"""Explains how a message of a client differs from the recorded one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aquila.cassettes.matching import cures
from aquila.cassettes.matching.body_lines import render_body, write_unified_diff
from aquila.cassettes.matching.cures import Cure
from aquila.cassettes.matching.difference import Difference, find_differences, identify_change, quote_around
from aquila.cassettes.matching.miss_message import name_fields, write_differences, write_preview
from aquila.cassettes.web_socket_frames.messages import FrameMessage, MessageReader
from aquila.plurals import number_of


class FrameMiss(NamedTuple):
    """Why no recording answers a message.

    ``title`` is one sentence, and ``details`` are lines that show both messages; ``describe`` adds advice, and the code
    that raises the miss adds the cassette and the command that records. ``number`` is that of the message among the
    client's, from 1. ``played_out`` says that the recording has no further message. ``difference`` are the lines that
    name the fields that differ, and ``group`` is equal for misses that the same change caused. Both are None if there
    is nothing to compare with. ``found`` are the differences. ``cure`` and ``ignorable`` are as in
    ``matching.miss_message.Explanation``.
    """

    title: str
    details: str
    number: int
    played_out: bool = False
    difference: str | None = None
    group: str | None = None
    found: Sequence[Difference] = ()
    cure: Cure | None = None
    ignorable: Cure | None = None

    @property
    def text(self) -> str:
        """All of it."""
        details = self.describe()
        return f"{self.title}\n\n{details}" if details else self.title

    def describe(self, settings_file: str = "") -> str:
        """Return the details, with the settings under which the message would match, as ``settings_file`` has them."""
        return "\n".join([self.details, *(cures.write_advice(self.cure, settings_file) if self.cure else ())])


def explain_difference(
    recorded: FrameMessage, now: FrameMessage, reader: MessageReader, *, number: int, count: int, name: str
) -> FrameMiss:
    """Explain where a message that the client sends now differs from the recorded one.

    The recorded message is number ``number``, from 1, of the ``count`` that the client sent when it was recorded.
    ``name`` is how messages refer to the recording; it may be empty.
    """
    before, after = reader.canonical_message(recorded), reader.canonical_message(now)
    found = find_differences(before, after)
    if recorded.is_text != now.is_text:
        kinds = ["text" if each.is_text else "binary" for each in (recorded, now)]
        found.insert(0, Difference("frame", kinds[0], kinds[1]))
    fields = list(write_differences(found))
    lines = [*fields, *write_unified_diff(render_body(before), render_body(after), f"message {number}")]
    requests = reader.as_request(now), reader.as_request(recorded)
    cure = cures.find_cure(*requests, found, reader.rules)
    return FrameMiss(
        f"{name_fields(found)} from message {number} of {count} that the client had sent{_in(name)}",
        "\n".join(lines),
        number,
        difference="\n".join([line.removeprefix("    ") for line in fields]) or None,
        group=identify_change(cures.without_fresh_values(found)),
        found=found,
        cure=cure,
        ignorable=None if cure is not None else cures.find_ignorable(*requests, found, reader.rules),
    )


def explain_sound(difference: str, *, number: int, count: int, name: str) -> FrameMiss:
    """Explain that the sound that a client sends differs from the recorded sound, from message ``number`` on.

    ``difference`` says in words how. ``number``, ``count`` and ``name`` are as in ``explain_difference``.
    """
    place = f"message {number} of {count} that it had sent{_in(name)}"
    title = f"the sound that the client sends differs from {place}: {difference}"
    return FrameMiss(title, "", number, difference=f"sound: {difference}", group=f"sound {number}")


def explain_played_out(
    now: FrameMessage, reader: MessageReader, *, count: int, stream: str | None, name: str
) -> FrameMiss:
    """Explain that the client had sent only ``count`` messages when it was recorded, in all or in a ``stream``."""
    held = number_of(count, "message was", "messages were") if count else "none was"
    client = f"stream {quote_around(stream, 0, 40)}" if stream else "the client"
    return FrameMiss(
        f"this is message {count + 1} of {client}, and {held} recorded{_in(name)}",
        "\n".join(write_preview(reader.canonical_message(now))).removeprefix("\n"),
        count + 1,
        played_out=True,
    )


def _in(name: str) -> str:
    return f" in {name}" if name else ""
