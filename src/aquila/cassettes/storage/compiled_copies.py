"""Compiled copies: loading a YAML cassette leaves a copy that loads many times faster.

A copy holds plain data in the form of ``marshal``, as Python's own compiled modules do. It is named after the hash of
the YAML's bytes, so it is never stale.

A copy begins with a checksum that is made with a key of the user. A damaged copy, a copy that came with a project, and
one that another user has put there fail the check and are not used: ``marshal`` must read nothing that strangers wrote.

A copy also says whether the requests differ, so that a replay need not compute a key for each, and how many tokens each
answer reports. Copies may be deleted at any time. If the folder or the key cannot be written, there are no copies.
Cassettes of every size get one, because a run whose cassettes all have copies never imports `yaml`.
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
    from aquila.cassettes.answers import answer_usage
    from aquila.cassettes.codecs import gc_pause
    from aquila.cassettes.codecs import msgpack as msgpack_codec
    from aquila.cassettes.matching import match_rules, request_key
else:
    lazy_modules(
        globals(),
        "aquila.cassettes.answers: answer_usage",
        "aquila.cassettes.codecs: gc_pause, msgpack as msgpack_codec",
        "aquila.cassettes.matching: match_rules, request_key",
    )

COPY_VERSION = 12
"""Part of the name of a copy. Raise it when the form of copies changes, or the meaning of a YAML file."""

_SMALL = 32 * 1024
"""In bytes. A smaller copy has so few objects that pausing the garbage collector costs more than it saves."""

_SUFFIX = ".marshal"

MAX_COPIES = 5000
"""The most copies that are kept, about as many as the largest projects have cassettes."""

# Suffixes and not codecs: a run whose cassettes all have copies never loads a codec.
_COPIED = (".yaml", ".yml")

PRUNE_ONE_IN = 16
"""Writing a copy counts all copies once in this many times, by chance: a first run writes one for each cassette."""


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
    try:  # not `suppress`, which is slower: nearly every test comes here
        return _read_copy(copy, name, key)
    except (OSError, EOFError, ValueError, TypeError):  # there is no copy, or none to be trusted: it is written anew
        pass
    cassette = codec_for(Path(file)).loads(data, source=file)
    cassette = Cassette(cassette.interactions, requests_differ=_have_keys_of_their_own(cassette))
    # Without a copy, loading only takes longer: the disk may be full, or a body too large for `marshal`.
    with contextlib.suppress(OSError, ValueError):
        _write_copy(copy, name, cassette, key)
    return cassette


def _have_keys_of_their_own(cassette: Cassette) -> bool:
    """Say whether all unequal requests of a cassette have different keys under the default rules."""
    requests = {interaction.request for interaction in cassette.interactions}
    if any(isinstance(request, StoredRequest) for request in requests):  # the key would need the content of its file
        return False
    return len({request_key.key_of(request, match_rules.MatchRules()) for request in requests}) == len(requests)


def _checksum(key: bytes, name: str, content: bytes | memoryview) -> bytes:
    """Return the checksum of a copy. It includes the name, so that a copy renamed to that of another cassette fails."""
    return keyed_checksum(key, name.encode(), content)


def _read_copy(copy: str, name: str, key: bytes) -> Cassette:
    """Return the cassette in a copy. Raises ``ValueError`` for a copy that this user has not written."""
    data = read_regular(copy)
    view = memoryview(data)
    if not data.startswith(_checksum(key, name, view[MAC_SIZE:])):
        raise ValueError(f"{copy}: not written by this user")
    with gc_pause.pause_garbage_collection() if len(data) > _SMALL else contextlib.nullcontext():
        requests_differ, rows = marshal.loads(view[MAC_SIZE:])
        rows.reverse()  # popped one by one, so that each row is freed as soon as it has been read
        return Cassette(tuple([_build_interaction(rows.pop()) for _ in range(len(rows))]), requests_differ)


def _build_interaction(row: Any) -> Interaction:
    if type(row) is list:
        return msgpack_codec.build_interaction(row)
    request, status, headers, chunks, answer, about, tokens = row
    response = RecordedResponse(status, headers, tuple(map(RecordedChunk, *chunks)), *answer)
    object.__setattr__(response, "known_tokens", tokens)
    return Interaction(RecordedRequest(*request), response, *about)


def _plain_row(interaction: Interaction, shared: dict[Any, Any]) -> Any:
    """Return an interaction as plain data, which ``_build_interaction`` reads. One with bodies in files is a list.

    Chunks are stored as they came, because rebuilding them from tables would be slow. ``shared`` has the texts and
    header fields of the cassette so far. Equal ones become one object, which ``marshal`` writes and reads only once.
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
        (response.end, response.error, response.started, response.ended, response.attempts, response.retried),
        (recorded, upstream, model, interaction.kind),
        answer_usage.tokens_of(response),
    )


def _content_of(cassette: Cassette) -> bytes:
    """Return the bytes behind the checksum of a copy. Raises ``ValueError`` for a body too large for ``marshal``."""
    shared: dict[Any, Any] = {}
    return marshal.dumps((cassette.requests_differ, [_plain_row(each, shared) for each in cassette.interactions]))


def _write_copy(copy: str, name: str, cassette: Cassette, key: bytes) -> None:
    """Write a copy under a temporary name and rename it, so that another process sees the whole copy or none."""
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
    """If there are too many copies, remove the oldest. Most of these are of cassettes that have changed since."""
    copies = [entry for entry in os.scandir(folder) if entry.name.endswith((_SUFFIX, ".tmp"))]
    if len(copies) > MAX_COPIES:
        for entry in sorted(copies, key=lambda entry: entry.stat().st_mtime)[: MAX_COPIES // 2]:
            os.unlink(entry.path)
