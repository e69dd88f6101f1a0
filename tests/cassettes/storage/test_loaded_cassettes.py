"""Cassettes that tests share are kept in memory; of those that are loaded once only the newest are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.codecs.yaml import parser
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import _LoadedCassettes, load_cassette, save_cassette


def _write(folder: Path, name: str) -> Path:
    """Write a cassette with one answer, as another process would: nothing here has loaded it."""
    path = folder / f"{name}.yaml"
    request = RecordedRequest("POST", f"https://api.openai.com/v1/{name}")
    save_cassette(path, Cassette((Interaction(request, RecordedResponse(200, chunks=(RecordedChunk(b"{}"),))),)))
    path.write_bytes(b"# written by hand\n" + path.read_bytes())
    return path


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each text was parsed, by the last part of the URL in it."""
    counted: Counter[str] = Counter()
    parse = parser.load_tree

    def count(text: bytes, source: str, *, convert: Any) -> Any:
        counted[text.decode().partition("/v1/")[2].split()[0]] += 1
        return parse(text, source=source, convert=convert)

    monkeypatch.setattr(parser, "load_tree", count)
    return counted


def test_cassette_is_parsed_once_for_tests_that_follow_each_other(tmp_path: Path, parsed: Counter[str]) -> None:
    path = _write(tmp_path, "shared")
    assert load_cassette(path) is load_cassette(path)
    assert parsed == {"shared": 1}


def test_cassette_that_was_used_once_is_not_kept(tmp_path: Path, parsed: Counter[str]) -> None:
    paths = [_write(tmp_path, f"single{number}") for number in range(8)]
    first = load_cassette(paths[0])
    for path in paths[1:]:
        load_cassette(path)
    assert load_cassette(paths[0]) == first
    assert parsed["single0"] == 2


def test_cassettes_that_many_tests_share_in_turns_are_parsed_twice_at_most(
    tmp_path: Path, parsed: Counter[str]
) -> None:
    paths = [_write(tmp_path, f"turn{number}") for number in range(8)]
    for _ in range(5):
        for path in paths:
            load_cassette(path)
    assert max(parsed.values()) == 2


@pytest.mark.parametrize("times", [1, 2])
def test_loaded_cassettes_are_kept_by_the_bytes_of_their_files(times: int) -> None:
    loaded = _LoadedCassettes(limit=100)
    for name in ("a", "b", "c"):
        for _ in range(times):
            loaded.add((name,), Cassette(), 40)
    assert [name for name in "abc" if loaded.find((name,))] == ["b", "c"]
    loaded.add(("d",), Cassette(), 1000)
    assert [name for name in "abcd" if loaded.find((name,))] == ["d"]
    loaded.add(("e",), Cassette(), 40)
    loaded.add(("f",), Cassette(), 40)
    assert [name for name in "abcdef" if loaded.find((name,))] == ["e", "f"]
