"""Compiled copies: loading a YAML cassette leaves a copy in msgpack form, which loads many times faster.

A copy is named after the hash of the YAML's bytes, so it is never stale. It begins with a checksum that is made with a
key of the user. So damage is noticed, and a copy that came with a project or that another user has put there is not
used: nothing else would prove that it says what the YAML says. A copy also says whether the requests differ, so that a
replay need not compute a key for each. Copies may be deleted at any time; where the folder or the key cannot be written
there are none. Files of every size get one, because a run whose cassettes all have copies never imports `yaml`.
"""

from __future__ import annotations

import contextlib
import functools
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
    from aquila.cassettes.codecs import answer_usage
    from aquila.cassettes.codecs import msgpack as msgpack_codec
    from aquila.cassettes.matching import match_rules, request_key
else:
    lazy_modules(
        globals(),
        answer_usage="aquila.cassettes.codecs.answer_usage",
        match_rules="aquila.cassettes.matching.match_rules",
        msgpack_codec="aquila.cassettes.codecs.msgpack",
        request_key="aquila.cassettes.matching.request_key",
    )

COPY_VERSION = 8
"""Part of the name of a copy. To be changed with the form of copies, and with how a YAML file is understood."""

_DIFFERENT, _NOT_KNOWN = b"differ;", b"unknown"
"""What follows the checksum in a copy: whether its requests differ. Both have the same length."""

MAX_COPIES = 5000
"""The most copies that are kept, about as many as the largest projects have cassettes."""

# By the suffix and not by the codec, which a run whose cassettes all have copies never loads.
_COPIED = (".yaml", ".yml")

PRUNE_ONE_IN = 16
"""One in this many new copies, by chance, counts the copies: a first run writes one for each cassette."""


def load_compiled_bytes(data: bytes, path: str | Path, cache_dir: Path, digest: bytes) -> Cassette:
    """Return the cassette that a file holds, from its copy if there is one. ``data`` are the bytes of the file.

    ``cache_dir`` is the folder of the copies, created on first use; a folder that cannot be used means no copies.
    ``digest`` is a cryptographic hash of the data, of at least 16 bytes. Raises ``CassetteCorrupt`` and
    ``CassetteTooNew``.
    """
    file = os.fspath(path)
    key = user_key() if file.lower().endswith(_COPIED) else None
    if key is None:
        return codec_for(Path(file)).loads(data, source=file)
    copy = os.path.join(cache_dir, name := f"{digest.hex()}.{FORMAT_VERSION}-{COPY_VERSION}.msgpack")
    try:  # not `suppress`: nearly every test comes by here
        return _read_copy(copy, name, key)
    except (OSError, CassetteCorrupt):  # there is none, or it cannot be trusted: it is written anew
        pass
    cassette = codec_for(Path(file)).loads(data, source=file)
    cassette = Cassette(cassette.interactions, requests_differ=_have_keys_of_their_own(cassette))
    with contextlib.suppress(OSError):  # a full disk or a folder that cannot be written costs time, and nothing else
        _write_copy(copy, name, cassette, key)
    return cassette


def _have_keys_of_their_own(cassette: Cassette) -> bool:
    """Say whether requests of a cassette that are not equal have different keys under the default rules."""
    requests = {interaction.request for interaction in cassette.interactions}
    if any(isinstance(request, StoredRequest) for request in requests):  # its file would have to be read for the key
        return False
    return len({request_key.key_of(request, match_rules.MatchRules()) for request in requests}) == len(requests)


@functools.cache  # pure, and loaded late
def _copy_codec() -> msgpack_codec.MsgpackCodec:
    """Return the codec of copies. It writes the chunks of streams as they came: rebuilding them from tables is slow."""
    return msgpack_codec.MsgpackCodec(tables=False, trusts_files=True)


def _checksum(key: bytes, name: str, content: bytes | memoryview) -> bytes:
    """Return the checksum of a copy. It includes the name, so that renaming a copy to another cassette's is noticed."""
    return keyed_checksum(key, name.encode(), content)


def _read_copy(copy: str, name: str, key: bytes) -> Cassette:
    data = read_regular(copy)
    view = memoryview(data)
    if not data.startswith(_checksum(key, name, view[MAC_SIZE:])):
        raise CassetteCorrupt(f"{copy}: not written by this user")
    tokens = MAC_SIZE + len(_DIFFERENT)
    end = data.index(b"\n", tokens)
    cassette = _copy_codec().loads(view[end + 1 :], source=copy)
    for interaction, count in zip(cassette.interactions, data[tokens:end].split(b","), strict=False):
        if count:
            answer_usage.remember_tokens(interaction.response, int(count), len(data) // len(cassette.interactions))
    return Cassette(cassette.interactions, requests_differ=data.startswith(_DIFFERENT, MAC_SIZE))


def _tokens_line(cassette: Cassette) -> bytes:
    """The tokens that each answer reports. Nothing for one that lies in a file of its own, which may go."""
    responses = [interaction.response for interaction in cassette.interactions]
    counts = (str(answer_usage.tokens_of(one)) if isinstance(one.chunks, tuple) else "" for one in responses)
    return ",".join(counts).encode() + b"\n"


def _write_copy(copy: str, name: str, cassette: Cassette, key: bytes) -> None:
    """Write a copy beside its place and move it there: another process sees all of it, or nothing."""
    marker = _DIFFERENT if cassette.requests_differ else _NOT_KNOWN
    content = marker + _tokens_line(cassette) + _copy_codec().dumps(cassette)
    data = _checksum(key, name, content) + content
    folder = os.path.dirname(copy)
    os.makedirs(folder, exist_ok=True)
    if data[0] % PRUNE_ONE_IN == 0:  # the first byte of the checksum is as good as random
        _remove_old_copies(folder)
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        # Without `fsync`: a copy that a loss of power has damaged fails its checksum, and is made again.
        os.replace(temporary, copy)
    except BaseException:
        os.unlink(temporary)
        raise


def _remove_old_copies(folder: str) -> None:
    """If there are too many copies, remove the oldest ones, mostly of cassettes that have changed since."""
    copies = [entry for entry in os.scandir(folder) if entry.name.endswith((".msgpack", ".tmp"))]
    if len(copies) > MAX_COPIES:
        for entry in sorted(copies, key=lambda entry: entry.stat().st_mtime)[: MAX_COPIES // 2]:
            os.unlink(entry.path)
