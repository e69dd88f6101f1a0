"""Writes images, sounds and files as parts of messages in a report."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from aquila.cassettes.answers.found_media import Media
from aquila.run_report.bodies import Bodies
from aquila.run_report.schema import Part


def join_pieces(found: Iterable[Media]) -> Iterator[Media]:
    """Yield media, with the pieces of a streamed sound joined, because they are samples without a header."""
    for _, group in itertools.groupby(found, key=lambda each: each.media_type if _is_piece(each) else id(each)):
        first, *others = group
        yield replace(first, data=b"".join([each.data or b"" for each in (first, *others)])) if others else first


def _is_piece(media: Media) -> bool:
    return media.data is not None and media.media_type.lower().startswith(("audio/pcm", "audio/l16"))


def as_part(media: Media, bodies: Bodies) -> Part:
    """Return an image, sound or file as a part of a message."""
    part: Part = {"kind": media.kind}
    if media.name:
        part["name"] = media.name[:200]
    if media.media_type:
        part["media_type"] = media.media_type
    if media.data is not None:
        part["body"] = bodies.add_image(media.data, media.media_type)
    elif media.url:
        part["url"] = media.url[:2000]
    return part
