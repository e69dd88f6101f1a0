"""Writes why a message of a client is not the one that was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aquila.cassettes.frames.messages import FrameMessage, MessageReader
from aquila.cassettes.matching import cures
from aquila.cassettes.matching.body_lines import count_of, render_body, write_unified_diff
from aquila.cassettes.matching.cures import Cure
from aquila.cassettes.matching.difference import Difference, find_differences, identify_change, quote_around
from aquila.cassettes.matching.miss_message import name_fields, write_differences, write_preview


class FrameMiss(NamedTuple):
    """Why no recording answers a message.

    ``title`` says it in one sentence, and ``details`` are lines that show it; whoever raises it adds the cassette, and
    the command that records. ``number`` is that of the message among those of the client, from 1. ``played_out`` says
    that the recording has no further one. ``difference`` are the lines that name the fields that differ, and ``group``
    is equal for misses by the same change; None where there is nothing to compare with. ``found`` are the differences,
    and ``cure`` and ``ignorable`` are as in ``Explanation``.
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
        return f"{self.title}\n\n{self.details}" if self.details else self.title


def explain_difference(
    recorded: FrameMessage, now: FrameMessage, reader: MessageReader, *, number: int, count: int, name: str
) -> FrameMiss:
    """Say where a message differs from the recorded one in its place.

    That is message ``number`` of the ``count`` that the client has sent. ``name`` is that of the recording.
    """
    before, after = reader.reduce(recorded), reader.reduce(now)
    found = find_differences(before, after)
    if recorded.is_text != now.is_text:
        kinds = ["text" if each.is_text else "binary" for each in (recorded, now)]
        found.insert(0, Difference("frame", kinds[0], kinds[1]))
    fields = list(write_differences(found))
    lines = [*fields, *write_unified_diff(render_body(before), render_body(after), f"message {number}")]
    requests = reader.as_request(now), reader.as_request(recorded)
    cure = cures.find_cure(*requests, found, reader.rules)
    if cure is not None:
        lines += cures.write_advice(cure)
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
    """Say that the sound that a client sends is another one from message ``number`` of ``count`` on."""
    place = f"message {number} of {count} that it had sent{_in(name)}"
    title = f"the sound that the client sends differs from {place}: {difference}"
    return FrameMiss(title, "", number, difference=f"sound: {difference}", group=f"sound {number}")


def explain_played_out(
    now: FrameMessage, reader: MessageReader, *, count: int, stream: str | None, name: str
) -> FrameMiss:
    """Say that a message is one more than the ``count`` that the client had sent, in all or in a stream."""
    held = f"{count_of(count, 'message')} {'was' if count == 1 else 'were'}" if count else "none was"
    client = f"stream {quote_around(stream, 0, 40)}" if stream else "the client"
    return FrameMiss(
        f"this is message {count + 1} of {client}, and {held} recorded{_in(name)}",
        "\n".join(write_preview(reader.reduce(now))).removeprefix("\n"),
        count + 1,
        played_out=True,
    )


def _in(name: str) -> str:
    return f" in {name}" if name else ""
