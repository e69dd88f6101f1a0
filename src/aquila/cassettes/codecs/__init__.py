"""File formats of cassettes, chosen by the file's suffix.

- ``yaml`` and ``msgpack`` are Aquila's own formats. Both store event streams as tables (``event_streams``), and
  ``yaml`` stores JSON bodies as structure (``json_body``).
- ``vcrpy`` and ``cassetter`` are formats of other recorders, which are read and never written. ``foreign`` has the
  functions that both readers use.
- ``gc_pause`` pauses the garbage collector while a cassette is read.

Begin with the protocol and the table below, then with ``yaml``.

Imported by ``storage``, ``body_file`` and everything below ``cassettes``.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aquila import plugins
from aquila.errors import ConfigError

if TYPE_CHECKING:
    from aquila.cassettes.model import Cassette


class Codec(Protocol):
    """One file format. Codecs hold no state: one instance serves all threads.

    Examples:
        >>> from aquila.cassettes import Cassette
        >>> class Forgetful:
        ...     suffix = ".nothing"
        ...     def dumps(self, cassette: Cassette) -> bytes:
        ...         return b""
        ...     def loads(self, data: bytes, *, source: str) -> Cassette:
        ...         return Cassette()
        >>> class Formats:
        ...     @aquila.hookspecs.hookimpl
        ...     def aquila_codecs(self):
        ...         return [Forgetful()]
    """

    suffix: str
    """The suffix of its files, with the dot."""

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content. The same cassette always gives the same bytes."""
        ...

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. ``source`` is the name of the file, for messages.

        Raises CassetteCorrupt, CassetteTooNew, and nothing else.
        """
        ...


_BUILT_IN = {
    ".yaml": ("aquila.cassettes.codecs.yaml.codec", "YamlCodec"),
    ".yml": ("aquila.cassettes.codecs.yaml.codec", "YamlCodec"),
    ".msgpack": ("aquila.cassettes.codecs.msgpack", "MsgpackCodec"),
    ".toml": ("aquila.cassettes.codecs.cassetter", "TomlCodec"),
}
_VCRPY_JSON = ("aquila.cassettes.codecs.vcrpy", "JsonCodec")
"""The codec for ``.json``, unless a plugin has one. The suffix is not built in, because the names of tests and
cassettes may end in it, and few of the files that do are cassettes."""
READ_ONLY_SUFFIXES = frozenset({".toml"})
"""Suffixes of files that nothing is recorded into."""

BUILT_IN_SUFFIXES = tuple(_BUILT_IN)
"""The suffixes of all formats but those of plugins."""

MAX_BYTES = 256 * 1024 * 1024
"""A text cassette with more bytes is neither written nor parsed. Bodies in files of their own do not count."""

HOW_TO_RECORD = "pytest --aquila-record"
"""What messages about damaged files say to type: they do not know the test of a cassette."""


def cassette_suffixes() -> tuple[str, ...]:
    """Return the suffixes of cassette files, with their dots: of the built-in formats, then of plugins."""
    return tuple(dict.fromkeys([*BUILT_IN_SUFFIXES, *[codec.suffix for codec in _plugin_codecs()]]))


def codec_for(path: Path) -> Codec:
    """Return the codec for the suffix of a cassette file. Plugins are asked only for suffixes that are not built in.

    Raises ConfigError for an unknown suffix.
    """
    suffix = path.suffix.lower()
    if suffix in _BUILT_IN:
        return _built_in_codec(*_BUILT_IN[suffix])
    for codec in _plugin_codecs():
        if codec.suffix == suffix:
            return codec
    if suffix == ".json":
        return _built_in_codec(*_VCRPY_JSON)
    known = ", ".join(cassette_suffixes())
    raise ConfigError(f"{path.name}: no cassette format has the suffix {suffix!r}; use one of {known}.")


# The process has one instance of each codec. All threads share it, because codecs hold no state. A codec is imported
# for the first file with its suffix, because `yaml` and `msgpack` are slow to import.
@cache
def _built_in_codec(module: str, name: str) -> Codec:
    codec: Codec = getattr(importlib.import_module(module), name)()
    return codec


def _plugin_codecs() -> list[Codec]:
    expected = 'a list of codecs, with a suffix such as ".xml", and the methods dumps and loads'
    return plugins.ask_for_items("aquila_codecs", _is_codec, expected)


def _is_codec(given: Any) -> bool:
    suffix = getattr(given, "suffix", None)
    is_suffix = isinstance(suffix, str) and suffix.startswith(".")
    return is_suffix and all(callable(getattr(given, name, None)) for name in ("dumps", "loads"))
