"""The serializer for Huey that runs nothing: msgpack, signed on request, with bounded sizes.

::

    huey = RedisHuey("app", serializer=MsgpackSerializer(secret=os.environ["QUEUE_SECRET"], queue="app"))

A message is four bytes of header (a byte that starts no pickle, no gzip and no msgpack, a letter, the version, flags),
the signature where there is one, and the payload. The signature is HMAC-SHA256 over header and payload under a key
derived from the secret, the queue's name and the purpose (a task, or a value of the result store): a message of
another queue, or a result that is slipped into the queue, is refused. It is checked before anything is decompressed.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from huey.registry import Message
from huey.serializer import Serializer

from aquila.errors import ConfigError, MessageRejected, NotSerializable
from aquila.huey.wire_format import WireFormat

Purpose: TypeAlias = Literal["task", "value"]
Secret: TypeAlias = str | bytes

_START = b"\xc1q\x01"
_COMPRESSED, _SIGNED, _TASK = 1, 2, 4
_HEADER = 4
_SIGNATURE = 32
_MIN_SECRET = 16
_WORTH_COMPRESSING = 512  # Bytes; below that the saving is less than the time.

DEFAULT_MAX_SIZE = 64 * 1024 * 1024


class MsgpackSerializer(Serializer):  # type: ignore[misc]
    """A Huey serializer without pickle: what travels arrives equal and of the same type, anything else is refused.

    Besides plain data it carries datetimes, timedeltas, tuples, exceptions and Huey's own records. It refuses, with
    the place and a remedy, what would arrive changed: sets, Decimal, UUID, dates, enums, named tuples, subclasses,
    integers beyond 64 bits.

    ``secret`` (at least 16 bytes) signs every message and refuses unsigned ones; of several, the first signs and all
    are accepted, for rotation. ``queue`` is the name of the queue that a signature is bound to: that of the Huey.
    Aquila's own Huey classes fill it in. ``compression`` compresses what is longer than 512 bytes; compressed messages
    are always read. ``max_size`` limits a message, and its decompressed form, in bytes.
    ``exceptions`` are classes that arrive as themselves in an ``.error()`` handler, besides Python's, Huey's and
    Aquila's; others arrive as ``RemoteTaskError``.

    Raises ``ConfigError`` for a secret that is too short.
    """

    def __init__(
        self,
        secret: Secret | Sequence[Secret] | None = None,
        *,
        queue: str | None = None,
        compression: bool = False,
        max_size: int = DEFAULT_MAX_SIZE,
        exceptions: Iterable[type[Exception]] = (),
    ) -> None:
        super().__init__(compression=compression, use_zlib=True)
        self._secrets = _parse_secrets(secret)
        self._queue = queue
        self._max_size = max_size
        self._exceptions = tuple(exceptions)
        self._wire = WireFormat(self._exceptions)
        self._keys: dict[Purpose, list[bytes]] = {}
        if queue is not None:
            for purpose in ("task", "value"):
                self._keys[purpose] = [_derive_key(key, queue, purpose) for key in self._secrets]

    def __repr__(self) -> str:
        return f"MsgpackSerializer(queue={self._queue!r}, signed={bool(self._secrets)}, compression={self.comp})"

    @property
    def signed(self) -> bool:
        """Whether messages are signed, and unsigned ones refused."""
        return bool(self._secrets)

    def for_queue(self, queue: str) -> MsgpackSerializer:
        """Return this serializer, bound to the queue of that name where it is not bound to one yet."""
        if self._queue is not None or not self._secrets:
            return self
        return MsgpackSerializer(
            self._secrets,
            queue=queue,
            compression=self.comp,
            max_size=self._max_size,
            exceptions=self._exceptions,
        )

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` as a message. Raises ``NotSerializable`` for what would not arrive as it is."""
        payload = self._wire.dumps(data)
        if len(payload) > self._max_size:
            raise NotSerializable(
                f"a message of {len(payload):,} bytes, and the limit is {self._max_size:,}: "
                "send a reference to the data, or raise max_size= on both sides"
            )
        flags = _TASK if type(data) is Message else 0
        if self.comp and len(payload) > _WORTH_COMPRESSING:
            payload, flags = zlib.compress(payload, self.comp_level), flags | _COMPRESSED
        if not self._secrets:
            return b"%s%c%s" % (_START, flags, payload)
        header = b"%s%c" % (_START, flags | _SIGNED)
        key = self._keys_for("task" if flags & _TASK else "value")[0]
        return b"".join((header, _compute_signature(key, header, payload), payload))

    def deserialize(self, data: bytes, purpose: Purpose | None = None) -> Any:
        """Return the value of a message.

        ``purpose`` says what it must be, a task or a value; without it both are taken, each only as what it was sent
        as. Raises ``MessageRejected`` for bytes that are damaged, foreign, too large, or not signed as they should be.
        """
        data = bytes(data)
        header, flags = data[:_HEADER], self._check_header(data)
        sent_as: Purpose = "task" if flags & _TASK else "value"
        if purpose is not None and purpose != sent_as:
            raise MessageRejected(f"a message that was sent as a {sent_as} stands where a {purpose} belongs")
        payload = memoryview(data)[_HEADER:]
        if flags & _SIGNED:
            payload = self._verify_signature(header, payload, sent_as)
        elif self._secrets:
            raise MessageRejected(
                "an unsigned message, and this queue demands a signature: give every producer the same secret="
            )
        plain = self._decompress_payload(payload) if flags & _COMPRESSED else payload
        if len(plain) > self._max_size:
            raise MessageRejected(f"a message larger than the limit of {self._max_size:,} bytes (max_size=)")
        value = self._wire.loads(plain)
        if (type(value) is Message) != (sent_as == "task"):
            raise MessageRejected(f"a message that says it is a {sent_as} holds something else")
        return value

    def _check_header(self, data: bytes) -> int:
        if data[: len(_START)] == _START and len(data) > _HEADER:
            flags = data[len(_START)]
            if flags & ~(_COMPRESSED | _SIGNED | _TASK):
                raise MessageRejected("a message with flags that this version does not know: update this side")
            return flags
        if data[:1] == b"\x80":
            raise MessageRejected(
                "this is a pickle, as Huey's default serializer writes it, and is not read: "
                "let the old workers empty the queue, or flush it, before changing the serializer"
            )
        if data[:2] == _START[:2] and len(data) > _HEADER:
            raise MessageRejected(f"a message of format {data[2]}, and this version reads 1: update this side")
        raise MessageRejected("not a message of this serializer, or one cut short")

    def _keys_for(self, purpose: Purpose) -> list[bytes]:
        if not self._keys:
            raise ConfigError(
                "a signature is bound to a queue: write MsgpackSerializer(secret, queue=<the name of the Huey>)"
            )
        return self._keys[purpose]

    def _verify_signature(self, header: bytes, signed: memoryview, purpose: Purpose) -> memoryview:
        if not self._secrets:
            raise MessageRejected("a signed message, and no secret to check it with: give this side the same secret=")
        signature, payload = bytes(signed[:_SIGNATURE]), signed[_SIGNATURE:]
        # Every key is tried, so that the time does not tell which one is near.
        matches = [
            hmac.compare_digest(_compute_signature(key, header, payload), signature) for key in self._keys_for(purpose)
        ]
        if not any(matches):
            raise MessageRejected(
                f"the signature does not match: another secret, another queue than {self._queue!r}, or altered data"
            )
        return payload

    def _decompress_payload(self, payload: memoryview) -> bytes:
        stream = zlib.decompressobj()
        try:
            plain = stream.decompress(payload, self._max_size + 1)
        except zlib.error as error:
            raise MessageRejected(f"a compressed message that does not decompress: {error}") from None
        if len(plain) <= self._max_size and (not stream.eof or stream.unused_data):
            raise MessageRejected("a compressed message that is cut short or has something after its end")
        return plain


def _parse_secrets(secret: Secret | Sequence[Secret] | None) -> tuple[bytes, ...]:
    if secret is None:
        return ()
    given = (secret,) if isinstance(secret, str | bytes) else tuple(secret)
    keys = tuple(key.encode() if isinstance(key, str) else bytes(key) for key in given)
    if not keys or any(len(key) < _MIN_SECRET for key in keys):
        raise ConfigError(
            f"a secret for signing needs at least {_MIN_SECRET} bytes; "
            'make one with: python -c "import secrets; print(secrets.token_hex(32))"'
        )
    return keys


def _derive_key(secret: bytes, queue: str, purpose: str) -> bytes:
    name = queue.encode()
    return hmac.digest(secret, b"aquila.huey/1\0%s\0%d\0%s" % (purpose.encode(), len(name), name), "sha256")


def _compute_signature(key: bytes, header: bytes, payload: bytes | memoryview) -> bytes:
    return hmac.digest(key, b"".join((header, payload)), "sha256")
