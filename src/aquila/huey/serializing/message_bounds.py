"""Counts the objects of a message in its bytes, before anything is built.

A message of a few kilobytes may describe hundreds of megabytes of objects. An empty list is one byte in msgpack and 64
bytes in memory, and a list of millions is allocated as soon as its length is read. So the heads of the values are read
first, and the objects that they announce are added up.
"""

from __future__ import annotations

SMALL = 4096
"""Bytes of a message that is not counted: it cannot hold more objects than bytes."""

MAX_UNUSUAL_KEYS = 1000
"""The most dictionary keys that are tuples, datetimes or timedeltas. Whoever writes a message can choose such keys with
the same hash, and then each key is compared with all before it. Python salts the hashes of texts and bytes."""

_VARIABLE = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
"""The heads of text, bytes and extension values, with the bytes of their length."""
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""The heads of long lists and dictionaries, with the bytes of their length and the objects of an item."""
_EXTENSIONS = (0xC7, 0xC8, 0xC9)
_FIXED = {
    **dict(zip(range(0xCA, 0xD9), (5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18), strict=True)),
    **{head: head - 0xA0 + 1 for head in range(0xA0, 0xC0)},
}
"""The heads of values of a fixed length, with that length in bytes, the head included."""
_SIZES = bytes(_FIXED.get(head, 0 if head in _VARIABLE or 0xDC <= head <= 0xDF else 1) for head in range(256))
"""By head: the bytes of a value, or 0 where its length follows the head."""


def holds_more_objects(data: bytes | memoryview, most: int) -> bool:
    """Whether bytes in the format of msgpack announce more than ``most`` objects. They need not be well-formed."""
    # A loop in Python over every value, so the tables above avoid a call for each; it stops at the first excess.
    if len(data) <= min(SMALL, most):
        return False
    at, end, announced = 0, len(data), 1
    sizes = _SIZES
    while at < end and announced <= most:
        head = data[at]
        size = sizes[head]
        if size:
            if 0x80 <= head < 0xA0:  # a short list or dictionary
                announced += (head & 15) * (2 if head < 0x90 else 1)
            at += size
        elif head in _CONTAINERS:
            width, objects = _CONTAINERS[head]
            announced += objects * int.from_bytes(data[at + 1 : at + 1 + width])
            at += 1 + width
        else:
            width = _VARIABLE[head]
            at += 1 + width + int.from_bytes(data[at + 1 : at + 1 + width]) + (head in _EXTENSIONS)
    return announced > most


def may_hold_unusual_keys(data: bytes | memoryview) -> bool:
    """Whether bytes in the format of msgpack may have too many keys that are neither texts nor numbers.

    A True may be wrong, and then the message is read more slowly. A False is never wrong.
    """
    if len(data) <= SMALL:
        return False
    # One of these bytes is the head of such a key, or of the marker in a key that is a tuple. A stranger may write the
    # length of a marker in two or four bytes (0xC8, 0xC9). The bytes also occur within texts and numbers.
    plain = bytes(data)
    return sum(map(plain.count, (b"\xc7", b"\xc8", b"\xc9", b"\xd6", b"\xd7"))) > MAX_UNUSUAL_KEYS
