"""File formats of cassettes, chosen by the file's suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aquila.errors import ConfigError

if TYPE_CHECKING:
    from aquila.cassettes.model import Cassette


class Codec(Protocol):
    """One file format. Codecs hold no state: one instance serves all threads."""

    suffix: str
    """The suffix of its files, with the dot."""

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content. The same cassette always gives the same bytes."""
        ...

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content; ``source`` is its name, for messages.

        Raises CassetteCorrupt, CassetteTooNew, and nothing else.
        """
        ...


SUFFIXES = (".yaml", ".yml", ".msgpack")
"""The suffixes that are known without any plugin."""


def codec_for(path: Path) -> Codec:
    """Return the codec of a cassette file. Raises ConfigError for an unknown suffix."""
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        from aquila.cassettes.codecs.yaml import YamlCodec

        return YamlCodec()
    if suffix == ".msgpack":
        from aquila.cassettes.codecs.msgpack import MsgpackCodec

        return MsgpackCodec()
    raise ConfigError(f"{path.name}: a cassette is a .yaml or .msgpack file, not {suffix or 'a file without suffix'}.")
