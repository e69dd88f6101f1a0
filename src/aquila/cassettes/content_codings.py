"""Undoes content codings (RFC 9110, 8.4.1): the compression that ``Content-Encoding`` names.

Cassettes hold readable bodies, so codings are undone before a body is stored, whichever client received it. A body
keeps its coding if the coding is unknown or its library is missing.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

MAX_CODINGS = 5
"""The most codings of one body. Clients refuse more, because each may turn a small body into a large one."""


class DamagedBody(ValueError):
    """A body is not what its content coding says."""


class Decoder(Protocol):
    """Undoes codings piece by piece."""

    def decode(self, data: bytes) -> bytes:
        """Return the decoded form of the next piece of a body. Raises ``DamagedBody``."""

    def finish(self) -> bytes:
        """Return the bytes that were held back, now that the body has ended. Raises ``DamagedBody``."""


def decoder_for(encoding: str) -> Decoder | None:
    """Return a decoder for the value of a ``Content-Encoding`` field.

    Returns None if the body has no coding, too many of them, or one that cannot be undone here.
    """
    codings = [coding for coding in (part.strip().lower() for part in encoding.split(",")) if coding]
    codings = [coding for coding in codings if coding != "identity"]
    if not codings or len(codings) > MAX_CODINGS:
        return None
    decoders: list[Decoder] = []
    for coding in reversed(codings):  # the last one named was applied last
        make = _CODINGS.get(coding)
        decoder = None if make is None else make()
        if decoder is None:
            return None
        decoders.append(decoder)
    return decoders[0] if len(decoders) == 1 else _StackDecoder(decoders)


def decode_body(body: bytes, encoding: str) -> bytes:
    """Return a whole body without its codings. A body that is damaged or cannot be decoded is returned unchanged."""
    decoder = decoder_for(encoding) if encoding and body else None
    if decoder is None:
        return body
    try:
        return decoder.decode(body) + decoder.finish()
    except DamagedBody:
        return body


def is_whole(decoder: Decoder) -> bool:
    """Say whether a finished body was complete. Only a decoder of br or deflate ever says no."""
    return not isinstance(decoder, _BrotliDecoder | _DeflateDecoder) or decoder.is_whole()


class _StackDecoder:
    """Several codings, one on top of the other. ``decoders`` begins with the outermost."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def decode(self, data: bytes) -> bytes:
        for decoder in self._decoders:
            data = decoder.decode(data)
        return data

    def finish(self) -> bytes:
        rest = b""
        # Outermost first: the last bytes of a decoder are still encoded for the next one.
        for decoder in self._decoders:
            rest = decoder.decode(rest) + decoder.finish()
        return rest


class _GzipDecoder:
    """gzip (RFC 1952): one or more members. Bytes after the last member are ignored, as clients ignore them."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)  # + 16: zlib expects gzip's header and trailer
        self._is_first = True
        self._has_ended = False

    def decode(self, data: bytes) -> bytes:
        pieces = []
        while data and not self._has_ended:
            if self._member.eof:
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._is_first = False
            try:
                pieces.append(self._member.decompress(data))
            except zlib.error as error:
                if self._is_first:
                    raise DamagedBody(str(error)) from error
                self._has_ended = True
            data = self._member.unused_data
        return b"".join(pieces)

    def finish(self) -> bytes:
        # After an error, `flush` raises the error once more since Python 3.14.
        return b"" if self._has_ended else self._member.flush()


class _DeflateDecoder:
    """deflate: the zlib format, as RFC 9110 says, or raw deflate data without zlib's header, as some servers send."""

    def __init__(self) -> None:
        self._beginning = b""  # the bytes so far while they are fewer than two, which do not tell the formats apart
        self._inflating: Any = None

    def decode(self, data: bytes) -> bytes:
        if self._inflating is None:
            data = self._beginning = self._beginning + data
            if len(data) < 2:
                return b""
            self._inflating = self._begin(data)
        try:
            return bytes(self._inflating.decompress(data))
        except zlib.error as error:
            raise DamagedBody(str(error)) from error

    @staticmethod
    def _begin(data: bytes) -> Any:
        # RFC 1950, 2.2: the method is 8, and both bytes together are a multiple of 31.
        has_header = len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)  # negative: no header expected

    def finish(self) -> bytes:
        try:
            rest = b""
            if self._inflating is None:
                self._inflating = self._begin(self._beginning)
                rest = self._inflating.decompress(self._beginning)
            return bytes(rest + self._inflating.flush())
        except zlib.error as error:
            raise DamagedBody(str(error)) from error

    def is_whole(self) -> bool:
        return bool(self._inflating.eof and not self._inflating.unused_data)


class _BrotliDecoder:
    """br, with the package ``brotli`` or ``brotlicffi``."""

    def __init__(self, library: Any) -> None:
        decompressor = library.Decompressor()
        # The packages do not agree on the name of the method: `process` in `brotli`, `decompress` in `brotlicffi`.
        self._decompress: Callable[[bytes], bytes] = getattr(decompressor, "process", None) or decompressor.decompress
        # Only newer versions can say whether the data was whole.
        self._is_finished: Callable[[], bool] = getattr(decompressor, "is_finished", lambda: True)
        self._error: type[Exception] = library.error
        self._has_begun = False

    def decode(self, data: bytes) -> bytes:
        if not data:
            return b""
        self._has_begun = True
        try:
            return bytes(self._decompress(data))
        except self._error as error:
            raise DamagedBody(str(error)) from error

    def finish(self) -> bytes:
        # Clients accept the part of a body that came before it was cut off, so this is no error; see `is_whole`.
        return b""

    def is_whole(self) -> bool:
        return not self._has_begun or self._is_finished()


class _ZstdDecoder:
    """zstd: one frame after the other, with the standard library, its backport, or the package ``zstandard``."""

    def __init__(self, library: Any) -> None:
        self._error: type[Exception] = library.ZstdError
        # A decompressor of `compression.zstd` has `eof` and `unused_data` itself; in `zstandard` only the object that
        # `decompressobj` returns has them. Both decode a single frame.
        self._make_frame: Callable[[], Any] = (
            (lambda: library.ZstdDecompressor().decompressobj())
            if library.__name__ == "zstandard"
            else library.ZstdDecompressor
        )
        self._frame: Any = None

    def decode(self, data: bytes) -> bytes:
        pieces = []
        try:
            while data:
                if self._frame is None or self._frame.eof:
                    self._frame = self._make_frame()
                pieces.append(self._frame.decompress(data))
                data = self._frame.unused_data if self._frame.eof else b""
        except self._error as error:
            raise DamagedBody(str(error)) from error
        return b"".join(pieces)

    def finish(self) -> bytes:
        if self._frame is not None and not self._frame.eof:
            raise DamagedBody("the zstd data is incomplete")
        return b""


def _first_library(*names: str) -> ModuleType | None:
    """Return the first of these modules that is installed, or None. A client accepts a coding if one of them is."""
    # Imported for the first body with the coding: most runs have no such body, and should not pay for the import.
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _make_brotli() -> Decoder | None:
    library = _first_library("brotli", "brotlicffi")
    return None if library is None else _BrotliDecoder(library)


def _make_zstd() -> Decoder | None:
    library = _first_library("compression.zstd", "backports.zstd", "zstandard")  # the first since Python 3.14
    return None if library is None else _ZstdDecoder(library)


_CODINGS: Mapping[str, Callable[[], Decoder | None]] = {
    "gzip": _GzipDecoder,
    "x-gzip": _GzipDecoder,
    "deflate": _DeflateDecoder,
    "br": _make_brotli,
    "zstd": _make_zstd,
}
"""The functions that make a decoder, by the name of the coding. They return None if the library is missing."""
