"""Compiled copies: faster, never different, never in the way."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from aquila.cassettes.answers import answer_usage
from aquila.cassettes.body_file import LARGE, StoredChunks, StoredRequest
from aquila.cassettes.codecs import codec_for
from aquila.cassettes.codecs.yaml import codec as yaml_codec
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import compiled_copies, user_key
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.errors import CassetteCorrupt
from tests.support.compiled_copies import load_compiled
from tests.support.threads import run_at_once


def made(text: str = "word") -> Cassette:
    body = b'{"id":"x","text":"%s"}' % (text.encode() * 300)
    stream = b"".join(b'data: {"delta":"%s %d","id":"0123456789"}\n\n' % (text.encode(), at) for at in range(30))
    request = RecordedRequest("POST", "https://api.example/v1", (), body)
    return Cassette.from_interactions(
        Interaction(request, RecordedResponse(200, (), chunks, "closed", "", 1, 9), "2026-11-24T10:00:00Z")
        for chunks in [
            (RecordedChunk(body, 9),),
            tuple(RecordedChunk(piece + b"\n\n", 3) for piece in stream.split(b"\n\n")[:-1]),
        ]
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_bytes(codec_for(path).dumps(made()))
    return path


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of the YAML files that were parsed."""
    sources: list[str] = []
    loads = yaml_codec.YamlCodec.loads

    def counted(self: yaml_codec.YamlCodec, data: bytes, *, source: str) -> Cassette:
        sources.append(source)
        return loads(self, data, source=source)

    monkeypatch.setattr(yaml_codec.YamlCodec, "loads", counted)
    return sources


def test_the_second_load_takes_the_copy(path: Path, tmp_path: Path, parses: list[str]) -> None:
    cache = tmp_path / "new" / "cache"
    assert load_compiled(path, cache) == load_compiled(path, cache) == made()
    assert parses == [str(path)]
    assert len(list(cache.iterdir())) == 1


def test_a_changed_file_never_gets_the_old_copy(path: Path, tmp_path: Path) -> None:
    load_compiled(path, tmp_path / "cache")
    before = path.stat()
    path.write_bytes(codec_for(path).dumps(made("four")))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert load_compiled(path, tmp_path / "cache") == made("four")


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "no cassette", "no interaction", "folder"])
def test_a_damaged_copy_is_written_anew(damage: str, path: Path, tmp_path: Path, parses: list[str]) -> None:
    cache = tmp_path / "cache"
    load_compiled(path, cache)
    (copy,) = cache.iterdir()
    whole = copy.read_bytes()
    if damage == "folder":
        copy.unlink()
        copy.mkdir()
    else:
        at = whole.index(b"wordword") + 1
        other = marshal.dumps((False, [["of another version"]]))
        copy.write_bytes(
            {
                "empty": b"",
                "short": whole[:-9],
                "flipped": whole[:at] + b"a" + whole[at + 1 :],
                "no cassette": b"\x00\x00\x00\x00",
                "no interaction": compiled_copies._checksum(user_key.user_key() or b"", copy.name, other) + other,
            }[damage]
        )
    assert load_compiled(path, cache) == made()
    assert len(parses) == 2
    if damage != "folder":
        assert copy.read_bytes() == whole
    assert [entry.name for entry in cache.iterdir()] == [copy.name]


def test_the_copy_of_another_cassette_is_not_taken(path: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_compiled(path, cache)
    (copy,) = cache.iterdir()
    path.write_bytes(codec_for(path).dumps(made("four")))
    load_compiled(path, cache)
    (other,) = set(cache.iterdir()) - {copy}
    copy.replace(other)
    assert load_compiled(path, cache) == made("four")


def test_without_a_usable_folder_there_is_no_copy(path: Path, tmp_path: Path, parses: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for cache in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        assert load_compiled(path, cache) == made()
    assert len(parses) == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["demo.yaml", "file"]


def test_a_small_file_gets_a_copy_and_a_msgpack_file_none(path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "demo.msgpack"
    packed.write_bytes(codec_for(packed).dumps(made()))
    assert load_compiled(packed, tmp_path / "cache") == made()
    assert not (tmp_path / "cache").exists()
    small = tmp_path / "small.yaml"
    small.write_bytes(codec_for(small).dumps(Cassette()))
    assert load_compiled(small, tmp_path / "cache") == Cassette()
    assert len(list((tmp_path / "cache").iterdir())) == 1


RECORDED = RecordedResponse(
    200, (("content-type", "application/json"),), (RecordedChunk(b'{"object":"list","data":[]}', 9),)
)


@pytest.mark.slow
def test_a_replay_in_a_fresh_process_whose_cassette_has_a_copy_imports_no_codec(tmp_path: Path) -> None:
    cassette = Cassette((Interaction(RecordedRequest("GET", "https://api.example/v1/models"), RECORDED),))
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "demo.yaml").write_bytes(codec_for(Path("demo.yaml")).dumps(cassette))
    (tmp_path / "test_it.py").write_text(
        "import sys\nimport httpx2, pytest\n\n"
        '@pytest.mark.aquila("demo")\ndef test_it(aquila_cassette):\n'
        '    httpx2.get("https://api.example/v1/models")\n'
        '    print(bool({"yaml", "aquila.cassettes.codecs.yaml.codec", "msgpack"} & set(sys.modules)))\n'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    command = [sys.executable, "-m", "pytest", "-q", "-s", str(tmp_path)]
    said = [
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    ]
    assert [("1 passed" in one.stdout, "True" in one.stdout, "False" in one.stdout) for one in said] == [
        (True, True, False),
        (True, False, True),
    ], said


def test_a_corrupt_file_is_told_and_gets_no_copy(path: Path, tmp_path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"status: 200", b"status: ok"))
    with pytest.raises(CassetteCorrupt, match="'status' must be a whole number"):
        load_compiled(path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_copy_of_another_version_is_not_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_compiled(path, tmp_path / "cache")
    monkeypatch.setattr(compiled_copies, "COPY_VERSION", compiled_copies.COPY_VERSION + 1)
    load_compiled(path, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_old_copies_make_room(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_copies, "MAX_COPIES", 10)
    monkeypatch.setattr(compiled_copies, "PRUNE_ONE_IN", 1)
    cache = tmp_path / "cache"
    cache.mkdir()
    for number in range(11):
        old = cache / f"{number}.marshal"
        old.write_bytes(b"")
        os.utime(old, (number, number))
    (cache / "kept.txt").write_text("somebody else's")
    assert load_compiled(path, cache) == made()
    names = {entry.name for entry in cache.iterdir()}
    assert {"5.marshal", "10.marshal", "kept.txt"} < names
    assert not {"0.marshal", "4.marshal"} & names
    assert len(names) == 8


def test_threads_that_load_at_once_all_get_the_cassette(path: Path, tmp_path: Path) -> None:
    results: list[Cassette] = []
    barrier = threading.Barrier(8)

    def load() -> None:
        barrier.wait()
        results.extend(load_compiled(path, tmp_path / "cache") for _ in range(5))

    run_at_once([load] * 8)
    assert results == [made()] * 40
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("of", ["answer", "request"])
def test_a_cassette_whose_large_body_lies_in_a_file_has_a_copy_that_names_this_file_too(
    of: str, tmp_path: Path, parses: list[str]
) -> None:
    path, large = tmp_path / "demo.yaml", bytes(range(256)) * (LARGE // 256 + 1)
    asked, answer = (b"q", large) if of == "answer" else (large, b"a")
    request = RecordedRequest("POST", "https://api.example/v1", (), asked)
    save_cassette(path, Cassette((Interaction(request, RecordedResponse(200, (), (RecordedChunk(answer),))),)))
    for _ in range(2):
        (one,) = load_compiled(path, tmp_path / "copies").interactions
        assert isinstance(one.request, StoredRequest) is (of == "request")
        assert isinstance(one.response.chunks, StoredChunks) is (of == "answer")
    assert len(parses) == 1


@pytest.mark.parametrize(
    ("other", "differ"), [(b'{"q":2}', True), (b'{"q":1}', True), (b'{"q":1,"metadata":{"a":"b"}}', False)]
)
def test_a_copy_says_whether_unequal_requests_have_different_keys(tmp_path: Path, other: bytes, differ: bool) -> None:
    path = tmp_path / "demo.yaml"
    requests = (
        RecordedRequest("POST", "https://x/v1", (("content-type", "application/json"),), body)
        for body in (b'{"q":1}', other)
    )
    path.write_bytes(
        codec_for(path).dumps(
            Cassette.from_interactions(Interaction(request, RecordedResponse(200)) for request in requests)
        )
    )
    assert load_compiled(path, tmp_path / "copies").requests_differ is differ
    assert load_compiled(path, tmp_path / "copies").requests_differ is differ  # from the copy now
    assert not codec_for(path).loads(path.read_bytes(), source="").requests_differ  # nobody has looked


def test_a_copy_tells_the_tokens_of_answers_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, request = tmp_path / "demo.yaml", RecordedRequest("POST", "https://x/v1", (), b'{"q":1}')
    bodies = (b'{"usage":{"total_tokens":58}}', b"no JSON", b'{"usage":{"input_tokens":3,"output_tokens":4}}')
    responses = [RecordedResponse(200, (), (RecordedChunk(body),)) for body in bodies]
    path.write_bytes(codec_for(path).dumps(Cassette(tuple(Interaction(request, each) for each in responses))))
    load_compiled(path, tmp_path / "copies")
    loaded = load_compiled(path, tmp_path / "copies")

    def read(response: RecordedResponse) -> dict[str, int]:
        raise AssertionError("it was read")

    monkeypatch.setattr(answer_usage, "usage_of_response", read)
    assert [answer_usage.tokens_of(each.response) for each in loaded.interactions] == [58, 0, 7]
    changed = replace(loaded.interactions[0].response, chunks=responses[2].chunks)
    for other in (responses[0], changed):  # one that only looks like it, or was made of it, is not known
        with pytest.raises(AssertionError, match="it was read"):
            answer_usage.tokens_of(other)


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "LOCALAPPDATA"])
def test_the_key_is_looked_for_where_the_variables_say_now(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    keys = []
    for name in ("a", "b"):
        monkeypatch.setenv(variable, str(tmp_path / name))
        keys.append(user_key.user_key())
        assert (tmp_path / name / "aquila" / "key").read_bytes() == keys[-1]
    assert keys[0] != keys[1]
