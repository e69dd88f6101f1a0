"""Large uploads: what comes in is what is kept, and what was recorded is not written again."""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.body_file import LARGE, BodyFile
from aquila.cassettes.storage.body_writer import write_body
from aquila.transports.upload_spool import UploadSpool
from aquila.transports.wire import read_request
from tests.support.examples import examples

DATA = random.Random(3).randbytes(3 * LARGE)


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(bounds)]


def taken_in(pieces: Sequence[bytes], recorded: Sequence[BodyFile] = ()) -> bytes | BodyFile:
    with UploadSpool(lambda: recorded) as spool:
        for piece in pieces:
            spool.add(piece)
        return spool.finish()


def content_of(body: bytes | BodyFile) -> bytes:
    return body if isinstance(body, bytes) else body.read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


@settings(max_examples=examples(60), deadline=None)
@given(
    size=st.integers(0, len(DATA)) | st.sampled_from([LARGE, LARGE + 1, len(DATA)]),
    flipped=st.none() | st.integers(0, len(DATA) - 1),
    places=st.lists(st.integers(0, len(DATA)), max_size=12),
    sizes=st.lists(st.integers(LARGE, len(DATA)), max_size=3),
)
@example(size=LARGE + 1, flipped=None, places=[LARGE], sizes=[len(DATA)])  # the beginning of a recorded one
def test_every_upload_is_taken_in_as_it_came(
    folder: Path, size: int, flipped: int | None, places: list[int], sizes: list[int]
) -> None:
    body = bytearray(DATA[:size])
    if flipped is not None and flipped < size:
        body[flipped] ^= 1
    recorded = [write_body(folder, [DATA[:one]]) for one in sizes]
    found = taken_in(cut(bytes(body), places), recorded)
    assert content_of(found) == body
    assert isinstance(found, BodyFile) == (size > LARGE)
    if isinstance(found, BodyFile):
        assert found == write_body(folder, [bytes(body)])
        assert (found.folder == folder) == (found in recorded)


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_recording_of_an_upload_does_not_change_what_is_taken_in(tmp_path: Path, damage: str) -> None:
    recorded = write_body(tmp_path, [DATA])
    if damage == "gone":
        recorded.path.unlink()
    elif damage == "cut":
        recorded.path.write_bytes(DATA[:-1])
    else:
        recorded.path.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    found = taken_in(cut(DATA, [LARGE, 2 * LARGE]), [recorded])
    assert content_of(found) == DATA
    assert isinstance(found, BodyFile)
    assert found.folder != tmp_path


@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "new"])
def test_an_upload_that_breaks_off_leaves_no_file_open(folder: Path, *, is_recorded: bool) -> None:
    def pieces() -> Iterator[bytes]:
        yield DATA[: 2 * LARGE]
        raise OSError("the file cannot be read")

    recorded = [write_body(folder, [DATA])] if is_recorded else []
    request = httpx2.Request("POST", "https://api.openai.com/v1/files", content=pieces())
    with pytest.raises(OSError, match="cannot be read"):
        read_request(request, lambda: recorded)
    gc.collect()  # an open file would warn, which is an error
