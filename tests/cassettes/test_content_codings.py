"""Content codings are undone, alone and on top of each other, wherever the body is cut."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.content_codings import DamagedBody, decode_body, decoder_for
from tests.support.cassettes import cut
from tests.support.compression import zstd


def deflate_without_header(body: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(body) + packing.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "identity": bytes,
}


def decode(encoding: str, pieces: list[bytes]) -> bytes:
    decoder = decoder_for(encoding)
    assert decoder is not None
    return b"".join(map(decoder.decode, pieces)) + decoder.finish()


@given(
    codings=st.lists(st.sampled_from([name for name in CODINGS if name != "identity"]), min_size=1, max_size=5),
    body=st.binary(max_size=300),
    places=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_any_stack_of_codings_is_undone_wherever_the_body_is_cut(
    codings: list[str], body: bytes, places: list[int]
) -> None:
    coded = body
    for coding in codings:
        coded = CODINGS[coding](coded)
    assert decode(", ".join(codings), [chunk.data for chunk in cut(coded, places)]) == body
    assert decode_body(coded, " , ".join(codings).upper()) == body


@pytest.mark.parametrize("size", [0, 1, 5000])
@pytest.mark.parametrize("step", [1, 2, 100_000])
def test_deflate_without_the_header_that_belongs_to_it_is_undone(size: int, step: int) -> None:
    body = b"a" * size
    coded = deflate_without_header(body)
    assert decode("deflate", [coded[at : at + step] for at in range(0, len(coded), step)]) == body


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_all_gzip_members_and_zstd_frames_of_a_body_are_undone(encoding: str, step: int) -> None:
    coded = CODINGS[encoding](b"one ") + CODINGS[encoding](b"two")
    assert decode(encoding, [coded[at : at + step] for at in range(0, len(coded), step)]) == b"one two"


def test_rubbish_after_a_gzip_body_is_ignored() -> None:
    assert decode("gzip", [gzip.compress(b"one"), b"rubbish", b"more"]) == b"one"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
def test_a_body_in_another_coding_is_damaged_and_an_empty_one_is_not(encoding: str) -> None:
    with pytest.raises(DamagedBody):
        decode(encoding, [b"<html>not packed at all</html>" * 20])
    assert decode(encoding, []) == b""
    assert decode_body(b"<html>", encoding) == b"<html>"


def test_a_zstd_body_that_ends_too_early_is_damaged() -> None:
    with pytest.raises(DamagedBody, match="incomplete"):
        decode("zstd", [zstd.compress(b"one" * 100)[:-4]])


@pytest.mark.parametrize(
    "encoding", ["", "identity", "compress", "gzip, compress", "aws-chunked", ", ".join(["gzip"] * 6)]
)
def test_a_body_in_an_unknown_coding_is_left_alone(encoding: str) -> None:
    assert decoder_for(encoding) is None
    assert decode_body(b"x", encoding) == b"x"


@pytest.mark.parametrize(("encoding", "libraries"), [("br", ["brotli", "brotlicffi"]), ("zstd", ["backports.zstd"])])
def test_a_coding_whose_library_is_missing_is_left_alone(
    encoding: str, libraries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in [*libraries, "compression.zstd", "zstandard"]:
        monkeypatch.setitem(sys.modules, library, None)
    assert decoder_for(encoding) is None
    assert decoder_for(f"gzip, {encoding}") is None


def test_zstd_is_undone_with_the_package_that_older_clients_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, library, None)
    coded = zstandard.ZstdCompressor().compress(b"one ") + zstandard.ZstdCompressor().compress(b"two")
    assert decode("zstd", [coded[at : at + 1] for at in range(len(coded))]) == b"one two"
    with pytest.raises(DamagedBody):
        decode("zstd", [b"rubbish" * 9])
