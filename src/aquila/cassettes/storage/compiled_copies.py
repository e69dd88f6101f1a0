"""Compiled copies: reading a YAML cassette leaves a copy in msgpack form, which loads many times as fast.

A copy is named after the hash of the YAML's bytes, so it can never be stale. It carries a checksum with the key of the
user, so damage is noticed, and so is a copy that came with a project or that somebody else has put into the folder: it
says nothing of what the YAML says. It tells whether the requests differ, so that a replay need not compute a key for
each. It may be deleted at any time, and where the folder or the key cannot be written there is none. A run whose
cassettes all have copies never imports `yaml`, so files of every size get one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.codecs import codec_for
from aquila.cassettes.model import FORMAT_VERSION, Cassette
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cassettes.storage.user_key import MAC_SIZE, keyed_checksum, user_key
from aquila.errors import CassetteCorrupt
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.codecs import msgpack as msgpack_codec
    from aquila.cassettes.matching import match_rules, request_key
else:
    lazy_modules(
        globals(),
        match_rules="aquila.cassettes.matching.match_rules",
        msgpack_codec="aquila.cassettes.codecs.msgpack",
        request_key="aquila.cassettes.matching.request_key",
    )

COPY_VERSION = 7
"""Changes with the form of a copy, or with how a YAML file is understood."""

_DIFFERENT, _NOT_KNOWN = b"differ;", b"unknown"
"""What follows the checksum in a copy. Of the same length."""

MAX_COPIES = 5000
"""Copies that are kept, so about as many cassettes as one project may have."""

_COPIED = (".yaml", ".yml")
# Asked of the path and not of its codec, which a run whose cassettes all have copies never loads.

PRUNE_ONE_IN = 16
"""One in so many new copies looks whether there are too many: a first run writes one for each cassette."""


def load_compiled_bytes(data: bytes, path: Path, cache_dir: Path | None, digest: bytes | None = None) -> Cassette:
    """Load the cassette that a file holds, from its copy if there is one. ``data`` are the bytes of the file.

    ``cache_dir`` is the folder of the copies, made on first use; None, or one that cannot be used, means no copies.
    ``digest`` is a cryptographic hash of the bytes, of at least 16 bytes, if the caller has one. Raises
    ``CassetteCorrupt`` and ``CassetteTooNew``.
    """
    if cache_dir is None or path.suffix.lower() not in _COPIED:
        return codec_for(path).loads(data, source=str(path))
    if digest is None:
        digest = hashlib.blake2b(data, digest_size=16).digest()
    key = user_key()
    if key is None:
        return codec_for(path).loads(data, source=str(path))
    copy = os.path.join(cache_dir, f"{digest.hex()}.{FORMAT_VERSION}-{COPY_VERSION}.msgpack")
    with contextlib.suppress(OSError, CassetteCorrupt):  # there is none, or it is not to be trusted and written anew
        return _read_copy(copy, key)
    cassette = codec_for(path).loads(data, source=str(path))
    cassette = Cassette(cassette.interactions, requests_differ=_have_keys_of_their_own(cassette))
    with contextlib.suppress(OSError):
        _write_copy(copy, cassette, key)
    return cassette


def _have_keys_of_their_own(cassette: Cassette) -> bool:
    """Whether requests of a cassette that are not equal have different keys under the default rules."""
    requests = {interaction.request for interaction in cassette.interactions}
    if any(isinstance(request, StoredRequest) for request in requests):  # the file would have to be read
        return False
    return len({request_key.key_of(request, match_rules.MatchRules()) for request in requests}) == len(requests)


def _copy_codec() -> msgpack_codec.MsgpackCodec:
    """The codec of copies. It keeps the chunks of streams as they came, since building them takes time."""
    return msgpack_codec.MsgpackCodec(tables=False, trusts_files=True)


def _checksum(key: bytes, copy: str, content: bytes | memoryview) -> bytes:
    """The checksum of a copy. Its name is in it: a copy of one cassette is none of another."""
    return keyed_checksum(key, os.fsencode(os.path.basename(copy)), content)


def _read_copy(copy: str, key: bytes) -> Cassette:
    data = memoryview(read_regular(copy))
    found, content = data[:MAC_SIZE], data[MAC_SIZE:]
    if found != _checksum(key, copy, content):
        raise CassetteCorrupt(f"{copy}: not written by this user")
    cassette = _copy_codec().loads(content[len(_DIFFERENT) :], source=copy)
    return Cassette(cassette.interactions, requests_differ=content[: len(_DIFFERENT)] == _DIFFERENT)


def _write_copy(copy: str, cassette: Cassette, key: bytes) -> None:
    """Write a copy beside its place and move it there: another process sees all of it, or nothing."""
    content = (_DIFFERENT if cassette.requests_differ else _NOT_KNOWN) + _copy_codec().dumps(cassette)
    data = _checksum(key, copy, content) + content
    folder = os.path.dirname(copy)
    os.makedirs(folder, exist_ok=True)
    if data[0] % PRUNE_ONE_IN == 0:
        _remove_old_copies(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, copy)
    except BaseException:
        os.unlink(name)
        raise


def _remove_old_copies(folder: str) -> None:
    """Remove the older half of the copies when there are too many: those of cassettes that have changed since."""
    copies = [entry for entry in os.scandir(folder) if entry.name.endswith((".msgpack", ".tmp"))]
    if len(copies) > MAX_COPIES:
        for entry in sorted(copies, key=lambda entry: entry.stat().st_mtime)[: MAX_COPIES // 2]:
            os.unlink(entry.path)
