"""Compiled copies: loading a YAML cassette leaves a copy that loads many times faster.

A copy holds plain data in the form of ``marshal``, as Python's own compiled modules do. It is named after the hash of
the YAML's bytes, so it is never stale. It begins with a checksum that is made with a key of the user. So damage is
noticed, and a copy that came with a project or that another user has put there is not used: nothing else would prove
that it says what the YAML says, and ``marshal`` must read nothing of strangers. A copy also says whether the requests
differ, so that a replay need not compute a key for each, and how many tokens each answer reports. Copies may be deleted
at any time; where the folder or the key cannot be written there are none. Files of every size get one, because a run
whose cassettes all have copies never imports `yaml`.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.codecs import codec_for
from aquila.cassettes.model import (
    FORMAT_VERSION,
    Cassette,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cassettes.storage.user_key import MAC_SIZE, keyed_checksum, user_key
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.codecs import answer_usage, gc_pause
    from aquila.cassettes.codecs import msgpack as msgpack_codec
    from aquila.cassettes.matching import match_rules, request_key
else:
    lazy_modules(
        globals(),
        answer_usage="aquila.cassettes.codecs.answer_usage",
        gc_pause="aquila.cassettes.codecs.gc_pause",
        match_rules="aquila.cassettes.matching.match_rules",
        msgpack_codec="aquila.cassettes.codecs.msgpack",
        request_key="aquila.cassettes.matching.request_key",
    )

COPY_VERSION = 10
"""Part of the name of a copy. To be changed with the form of copies, and with how a YAML file is understood."""

_SMALL = 32 * 1024
"""Bytes. A smaller copy has so few objects that pausing the garbage collector costs more than it saves."""

_SUFFIX = ".marshal"

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
    copy = os.path.join(cache_dir, name := f"{digest.hex()}.{FORMAT_VERSION}-{COPY_VERSION}-{marshal.version}{_SUFFIX}")
    try:  # not `suppress`: nearly every test comes by here
        return _read_copy(copy, name, key)
    except (OSError, EOFError, ValueError, TypeError):  # there is none, or it cannot be trusted: it is written anew
        pass
    cassette = codec_for(Path(file)).loads(data, source=file)
    cassette = Cassette(cassette.interactions, requests_differ=_have_keys_of_their_own(cassette))
    # A full disk, a folder that cannot be written, or a body too large for `marshal` costs time, and nothing else.
    with contextlib.suppress(OSError, ValueError):
        _write_copy(copy, name, cassette, key)
    return cassette


def _have_keys_of_their_own(cassette: Cassette) -> bool:
    """Say whether requests of a cassette that are not equal have different keys under the default rules."""
    requests = {interaction.request for interaction in cassette.interactions}
    if any(isinstance(request, StoredRequest) for request in requests):  # its file would have to be read for the key
        return False
    return len({request_key.key_of(request, match_rules.MatchRules()) for request in requests}) == len(requests)


def _checksum(key: bytes, name: str, content: bytes | memoryview) -> bytes:
    """Return the checksum of a copy. It includes the name, so that renaming a copy to another cassette's is noticed."""
    return keyed_checksum(key, name.encode(), content)


def _read_copy(copy: str, name: str, key: bytes) -> Cassette:
    """Return what a copy holds. Raises ``ValueError`` for one that was not written by this user."""
    data = read_regular(copy)
    view = memoryview(data)
    if not data.startswith(_checksum(key, name, view[MAC_SIZE:])):
        raise ValueError(f"{copy}: not written by this user")
    with gc_pause.pause_garbage_collection() if len(data) > _SMALL else contextlib.nullcontext():
        requests_differ, rows = marshal.loads(view[MAC_SIZE:])
        rows.reverse()  # to be popped one by one, so that each is freed as soon as it has been read
        return Cassette(tuple([_build_interaction(rows.pop()) for _ in range(len(rows))]), requests_differ)


def _build_interaction(row: Any) -> Interaction:
    if type(row) is list:
        return msgpack_codec.build_interaction(row)
    request, status, headers, chunks, answer, about, tokens = row
    response = RecordedResponse(status, headers, tuple(map(RecordedChunk, *chunks)), *answer)
    object.__setattr__(response, "known_tokens", tokens)
    return Interaction(RecordedRequest(*request), response, *about)


def _plain_row(interaction: Interaction, shared: dict[Any, Any]) -> Any:
    """Return an interaction as plain data: what ``_build_interaction`` reads. One with bodies in files is a list.

    Chunks are as they came: rebuilding them from tables would be slow. ``shared`` has the texts and header fields of
    the cassette so far. Equal ones are one object, which ``marshal`` writes once, and which is one object when read.
    """
    request, response = interaction.request, interaction.response
    if isinstance(request, StoredRequest) or not isinstance(response.chunks, tuple):
        return msgpack_codec.encode_row(interaction, tables=False)
    method, url, asked, answered, recorded, upstream, model = (
        shared.setdefault(value, value)
        for value in (
            request.method,
            request.url,
            request.headers,
            response.headers,
            interaction.recorded,
            interaction.upstream,
            interaction.model,
        )
    )
    return (
        (method, url, asked, request.body),
        response.status,
        answered,
        (tuple([chunk.data for chunk in response.chunks]), tuple([chunk.at for chunk in response.chunks])),
        (response.end, response.error, response.started, response.ended, response.attempts),
        (recorded, upstream, model, interaction.kind),
        answer_usage.tokens_of(response),
    )


def _content_of(cassette: Cassette) -> bytes:
    """Return what follows the checksum in a copy. Raises ``ValueError`` for a body too large for ``marshal``."""
    shared: dict[Any, Any] = {}
    return marshal.dumps((cassette.requests_differ, [_plain_row(each, shared) for each in cassette.interactions]))


def _write_copy(copy: str, name: str, cassette: Cassette, key: bytes) -> None:
    """Write a copy beside its place and move it there: another process sees all of it, or nothing."""
    content = _content_of(cassette)
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
    copies = [entry for entry in os.scandir(folder) if entry.name.endswith((_SUFFIX, ".tmp"))]
    if len(copies) > MAX_COPIES:
        for entry in sorted(copies, key=lambda entry: entry.stat().st_mtime)[: MAX_COPIES // 2]:
            os.unlink(entry.path)
