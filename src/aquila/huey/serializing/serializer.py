"""A serializer for Huey that runs no code: msgpack, signed if there is a secret, with bounded sizes.

::

    huey = RedisHuey("app", serializer=MsgpackSerializer(secret=os.environ["QUEUE_SECRET"], queue="app"))

A message consists of a header of four bytes, the signature if there is one, and the payload. The header is a byte that
begins no pickle, no gzip and no msgpack; a letter; the version; and flags. The signature is HMAC-SHA256 over header and
payload. Its key is derived from the secret, the name of the queue and the purpose: a task, or a value of the result
store. So a message of another queue, and a result in the place of a task, are refused. The signature is checked before
anything is decompressed.
"""

from __future__ import annotations

import copy
import hmac
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

from huey.registry import Message
from huey.serializer import Serializer

from aquila.errors import ConfigError, MessageRejected, NotSerializable
from aquila.huey.serializing.wire_format import WireFormat

Purpose: TypeAlias = Literal["task", "value"]
Secret: TypeAlias = str | bytes

_START = b"\xc1q\x01"
_COMPRESSED, _SIGNED, _TASK = 1, 2, 4
_HEADER = 4
_USUAL_TASK = _START + bytes([_TASK])
"""The header of a task that is neither signed nor compressed."""
_LONGEST_USUAL = 4096  # Bytes of a message that may be copied instead of looked into.
_SIGNATURE = 32
_MIN_SECRET = 16
_WORTH_COMPRESSING = 512  # Bytes; below that the saving is less than the time.

DEFAULT_MAX_SIZE = 64 * 1024 * 1024
DEFAULT_MAX_OBJECTS = 250_000


class MsgpackSerializer(Serializer):  # type: ignore[misc]
    """A Huey serializer without pickle. A value arrives equal and of the same type, or it is refused.

    Besides plain data it sends datetimes, timedeltas, tuples, exceptions and Huey's own records. It refuses sets,
    Decimal, UUID, dates, enums, named tuples, subclasses and integers beyond 64 bits, because they would arrive
    changed. The error names the place of the value and what to send instead.

    - ``secret``: signs every message and refuses unsigned ones; text or bytes, at least 16 bytes long. Several secrets
      are for rotation: the first one signs, and the signatures of all are accepted.
    - ``queue``: the name of the queue that a signature is bound to, which is the name of the Huey. Aquila's own Huey
      classes fill it in.
    - ``compression``: compress messages of more than 512 bytes. A compressed message is read only if it is signed, or
      if compression was asked for on this side too.
    - ``max_size``: the longest message in bytes, also when it is decompressed.
    - ``max_objects``: the most objects (texts, numbers, lists, ...) that a message may hold. They are counted before
      any is built.
    - ``exceptions``: classes that arrive as themselves in an ``.error()`` handler, besides those of Python, Huey and
      Aquila. Others arrive as ``RemoteTaskError``.

    Raises ``ConfigError`` for a secret that is too short, or neither text nor bytes.
    """

    def __init__(
        self,
        secret: Secret | Sequence[Secret] | None = None,
        *,
        queue: str | None = None,
        compression: bool = False,
        max_size: int = DEFAULT_MAX_SIZE,
        max_objects: int = DEFAULT_MAX_OBJECTS,
        exceptions: Iterable[type[Exception]] = (),
    ) -> None:
        super().__init__(compression=compression, use_zlib=True)
        self._secrets = _parse_secrets(secret)
        self._queue = queue
        self._max_size = max_size
        self._wire = WireFormat(exceptions, max_objects=max_objects)
        # Shorter messages take the short way in `deserialize`. With a secret none does: each must be verified.
        self._usual = 0 if self._secrets else min(_LONGEST_USUAL, max_size)
        # Derived once. Empty without a queue, because each key is bound to one.
        self._keys = {} if queue is None else _derive_keys(self._secrets, queue)

    def __repr__(self) -> str:
        return f"MsgpackSerializer(queue={self._queue!r}, signed={bool(self._secrets)}, compression={self.comp})"

    def for_queue(self, queue: str) -> MsgpackSerializer:
        """Return a copy of this serializer that is bound to a queue; itself if it is bound, or has no secret."""
        if self._queue is not None or not self._secrets:
            return self
        bound = copy.copy(self)
        bound._queue, bound._keys = queue, _derive_keys(self._secrets, queue)
        return bound

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` as a message. Raises ``NotSerializable`` for a value that is too large or would change."""
        payload = self._wire.dumps(data)
        if len(payload) > self._max_size:
            raise NotSerializable(
                f"the message has {len(payload):,} bytes, and the limit is {self._max_size:,}: "
                "send a reference to the data, or raise max_size= on both sides"
            )
        flags = _TASK if type(data) is Message else 0
        if flags and not self.comp and not self._secrets:
            return _USUAL_TASK + payload
        if self.comp and len(payload) > _WORTH_COMPRESSING:
            payload, flags = zlib.compress(payload, self.comp_level), flags | _COMPRESSED
        if not self._secrets:
            return b"%s%c%s" % (_START, flags, payload)
        header = b"%s%c" % (_START, flags | _SIGNED)
        key = self._keys_for("task" if flags & _TASK else "value")[0]
        return b"".join((header, _compute_signature(key, header, payload), payload))

    def deserialize(self, data: bytes, purpose: Purpose | None = None) -> Any:
        """Return the value of a message.

        ``purpose`` says whether the message must be a task or a value; None accepts both. Raises ``MessageRejected``
        for bytes that are damaged, foreign, too large or not signed correctly, and for a task in the place of a value.
        """
        if len(data) < self._usual and data[:_HEADER] == _USUAL_TASK and type(data) is bytes and purpose != "value":
            usual = self._wire.loads(data[_HEADER:])  # Most tasks come this way. Errors of others are found below.
            if type(usual) is Message:
                return usual
        if len(data) > self._max_size + _HEADER + _SIGNATURE:
            raise MessageRejected(f"the message is larger than the limit of {self._max_size:,} bytes (max_size=)")
        data = bytes(data)
        header, flags = data[:_HEADER], self._check_header(data)
        sent_as: Purpose = "task" if flags & _TASK else "value"
        if purpose is not None and purpose != sent_as:
            raise MessageRejected(f"this message was sent as a {sent_as}, and a {purpose} is expected here")
        payload = memoryview(data)[_HEADER:]
        if flags & _SIGNED:
            payload = self._verify_signature(header, payload, sent_as)
        elif self._secrets:
            raise MessageRejected(
                "the message is unsigned, and this queue needs a signature: give every producer the same secret="
            )
        if flags & _COMPRESSED and not flags & _SIGNED and not self.comp:
            raise MessageRejected(
                "the message is compressed and unsigned, and this side was not asked to read that: give it "
                "compression=True, or both sides the same secret="
            )
        plain = self._decompress_payload(payload) if flags & _COMPRESSED else payload
        if len(plain) > self._max_size:
            raise MessageRejected(f"the message is larger than the limit of {self._max_size:,} bytes (max_size=)")
        value = self._wire.loads(plain)
        if (type(value) is Message) != (sent_as == "task"):
            raise MessageRejected(f"the message was sent as a {sent_as} and holds something else")
        return value

    def _check_header(self, data: bytes) -> int:
        if data[: len(_START)] == _START and len(data) > _HEADER:
            flags = data[len(_START)]
            if flags & ~(_COMPRESSED | _SIGNED | _TASK):
                raise MessageRejected("the message has flags that this version does not know: update this side")
            return flags
        if data[:1] == b"\x80":
            raise MessageRejected(
                "the message is a pickle, as Huey's default serializer writes it, and pickles are not read: "
                "let the old workers empty the queue, or flush it, before you change the serializer"
            )
        if data[:2] == _START[:2] and len(data) > _HEADER:
            raise MessageRejected(f"the message has format {data[2]}, and this version reads 1: update this side")
        raise MessageRejected("the bytes are not a message of this serializer, or the message is cut short")

    def _keys_for(self, purpose: Purpose) -> list[bytes]:
        if not self._keys:
            raise ConfigError(
                "a signature is bound to a queue: write MsgpackSerializer(secret, queue=<the name of the Huey>)"
            )
        return self._keys[purpose]

    def _verify_signature(self, header: bytes, signed: memoryview, purpose: Purpose) -> memoryview:
        if not self._secrets:
            raise MessageRejected(
                "the message is signed, and there is no secret to check it with: give this side the same secret="
            )
        signature, payload = bytes(signed[:_SIGNATURE]), signed[_SIGNATURE:]
        # Every key is tried, so that the time it takes does not tell which one matches.
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
            raise MessageRejected(f"the message cannot be decompressed: {error}") from None
        if len(plain) <= self._max_size and (not stream.eof or stream.unused_data):
            raise MessageRejected("the compressed message is cut short, or something follows its end")
        return plain


def _parse_secrets(secret: Secret | Sequence[Secret] | None) -> tuple[bytes, ...]:
    if secret is None:
        return ()
    given = tuple(secret) if isinstance(secret, Sequence) and not isinstance(secret, str | bytes) else (secret,)
    # Not `bytes(key)`: of a number that would be as many zeros, with which anybody could sign.
    if not all(isinstance(key, str | bytes) for key in given):
        raise ConfigError("secret= is text or bytes, or a list of these")
    keys = tuple(key.encode() if isinstance(key, str) else key for key in given)
    if not keys or any(len(key) < _MIN_SECRET for key in keys):
        raise ConfigError(
            f"a secret for signing needs at least {_MIN_SECRET} bytes; "
            'make one with: python -c "import secrets; print(secrets.token_hex(32))"'
        )
    return keys


def _derive_keys(secrets: Iterable[bytes], queue: str) -> dict[Purpose, list[bytes]]:
    return {
        "task": [_derive_key(secret, queue, "task") for secret in secrets],
        "value": [_derive_key(secret, queue, "value") for secret in secrets],
    }


def _derive_key(secret: bytes, queue: str, purpose: Purpose) -> bytes:
    name = queue.encode()
    return hmac.digest(secret, b"aquila.huey/1\0%s\0%d\0%s" % (purpose.encode(), len(name), name), "sha256")


def _compute_signature(key: bytes, header: bytes, payload: bytes | memoryview) -> bytes:
    return hmac.digest(key, b"".join((header, payload)), "sha256")
