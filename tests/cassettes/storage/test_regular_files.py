"""Files are read whole, or as far as is wanted, however the system hands their bytes out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from aquila.cassettes.storage import regular_files
from aquila.cassettes.storage.regular_files import read_regular

CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize("most", [-1, 0, 1, 255, len(CONTENT) - 1, len(CONTENT), len(CONTENT) + 1, 2**40])
@pytest.mark.parametrize("size", [0, 1, 256, len(CONTENT)])
def test_a_file_is_read_as_far_as_is_wanted(tmp_path: Path, size: int, most: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:size])
    assert read_regular(path, most=most) == (CONTENT[:size] if most < 0 else CONTENT[:size][:most])


@pytest.mark.parametrize("most", [-1, 1000, len(CONTENT)])
def test_a_system_that_gives_few_bytes_at_a_time_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    path, read = tmp_path / "file", os.read
    path.write_bytes(CONTENT)
    monkeypatch.setattr(regular_files.os, "read", lambda descriptor, count: read(descriptor, min(count, 300)))
    assert read_regular(path, most=most) == (CONTENT if most < 0 else CONTENT[:most])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files without a size are Linux's")
def test_a_file_that_tells_no_size_is_read_to_its_end() -> None:
    assert read_regular("/proc/self/status").startswith(b"Name:")
    assert b"Threads:" in read_regular("/proc/self/status")
