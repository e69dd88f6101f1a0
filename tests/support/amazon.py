"""Frames in which AWS streams."""

import struct
import zlib


def frame(payload: bytes, **headers: str) -> bytes:
    fields = {":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"} | headers
    head = b"".join(
        bytes((len(name),)) + name.encode() + b"\x07" + struct.pack(">H", len(text.encode())) + text.encode()
        for name, text in fields.items()
    )
    data = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    data += struct.pack(">I", zlib.crc32(data)) + head + payload
    return data + struct.pack(">I", zlib.crc32(data))
