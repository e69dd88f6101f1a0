"""Damaged cassettes: valid cassettes with random changes, like those of damage, editing and attacks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_TOKENS = [
    b": ", b"- ", b"\n", b"\n\n", b"  ", b"\t", b"'", b'"', b"\\", b"|", b"|2-", b">", b"#", b"&a ", b"*a",
    b"!!binary ", b"!!python/object:os.system ", b"? ", b"[", b"]", b"{", b"}", b"%YAML 1.1\n", b"---\n", b"...\n",
    b"<<: *a", b"~", b"null", b"true", b"-1", b"1e999", b"0x10", b"99999999999999999999", b"*999999999", b"a*3",
    b"1+5 ", b"=\t", b"~\t", "«".encode(), "»".encode(), "«s1»".encode(), "«+0»".encode(), "«spaces»".encode(),
    "«»".encode(), "\u2028".encode(), "\ufeff".encode(), b"\x85", b"\x00", b"\x7f", b"\xff\xfe", b"\xed\xa0\x80",
    b"\xc2\x85", b"\r\n", b"aquila: 2\n", b"json: ", b"events: ", b"templates:\n", b"base64: ", b"chunks: 1:2 3\n",
    b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc1", b"\xd9", b"\x81\xa1a\x01", b"\x91" * 40,
]  # fmt: skip


def mutate(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return one of the seeds with one to three random changes."""
    data = rng.choice(seeds)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice(_CHANGES)(data, seeds, rng)
    return data


def _flip(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _insert(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(_TOKENS) + data[at:]


def _replace(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(_TOKENS) + data[at + rng.randint(1, 8) :]


def _cut(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 40) :]


def _truncate(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _repeat(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    piece = data[at : at + rng.randint(1, 60)]
    return data[:at] + piece * rng.choice([2, 3, 50]) + data[at:]


def _splice(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(seeds)
    start = rng.randint(0, len(other))
    at = rng.randint(0, len(data))
    return data[:at] + other[start : start + rng.randint(1, 300)] + data[at:]


def _lines(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    change = rng.randrange(7)
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(at, lines[at])
    elif change == 2:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif change == 3:
        lines[at] = b" " * rng.randint(1, 4) + lines[at]
    elif change == 4:
        lines.insert(at, b" " * rng.randint(0, 12) + rng.choice([b"", b"", b"x", b"- x", b"x:", b"x: y", b"# x"]))
    elif change == 5:
        lines[at] = lines[at][rng.randint(1, 4) :]
    else:
        lines[at] = lines[at] + rng.choice([b" ", b":", b": x", b" # note", b"'", b"\t", b"|"])
    return b"\n".join(lines)


_CHANGES: list[Callable[[bytes, Sequence[bytes], random.Random], bytes]] = [
    _flip, _insert, _replace, _cut, _truncate, _repeat, _splice, _lines, _lines, _lines,
]  # fmt: skip
