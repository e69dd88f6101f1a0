"""Files of a hostile branch: cassettes, journals and caches that were made to attack whoever reads them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files, compiled_copies, journal, user_key
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.cassette_lock import hold_cassette_lock
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.errors import CassetteCorrupt, CassetteError, CassetteWriteError
from aquila.recording.storing.interrupted_runs import find_waiting_recordings, recover_journals
from tests.bad_input.conftest import Project
from tests.support.compiled_copies import load_compiled
from tests.support.runs import separate_run
from tests.support.slow import slow_but, slow_but_each

SCOPE, OTHER = "0123456789abcdef", "fedcba9876543210"
needs_posix = pytest.mark.skipif(os.name != "posix", reason="no such files on this platform")


def interaction(answer: bytes = b"the true answer") -> Interaction:
    request = RecordedRequest("POST", "https://api.example/v1", (), b'{"prompt":"p"}')
    return Interaction(request, RecordedResponse(200, (), (RecordedChunk(answer),)))


def leave_journal(root: Path, scope: str = SCOPE, name: str = "good") -> Path:
    recorded, rules = interaction(), MatchRules()
    left = journal.Journal(root, scope)
    row = NewRecording(key_of(recorded.request, rules), 0, 0, recorded)
    left.append_entry(JournalEntry(name, "missing", "last", rules, row))
    left.close()
    (path,) = journal.find_journals_of(root, scope)
    return path


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4) + zlib.crc32(payload).to_bytes(4) + payload


FIELDS = ["good", "missing", "last", ["body"], [], "key", 0, 0, None, False, "", []]
NESTED = b"\x91" * 400 + b"\xc0"


def with_field(number: int, value: object) -> bytes:
    return bytes(msgpack.packb([*FIELDS[:number], value, *FIELDS[number + 1 :]]))


PAYLOADS = {
    "nil": b"\xc0", "a number": b"\x01", "a text": b"\xa1x", "an empty list": b"\x90", "a map": b"\x81\xa1a\x01",
    "few fields": b"\x93\x01\x02\x03", "many fields": msgpack.packb([*FIELDS, 1, 2, 3]), "nested lists": NESTED,
    "an extension": b"\xd4\x01\x00", "a time": b"\xd6\xff\x00\x00\x00\x00",
    "a length that lies": b"\xdd\xff\xff\xff\xff",
    "half": msgpack.packb(FIELDS)[:9], "more behind": msgpack.packb(FIELDS) + b"\xc0", "not msgpack": b"\xc1",
    "empty lists": b"\xdd" + (1_000_000).to_bytes(4) + b"\x90" * 1_000_000,
    **{f"field {at} is {value!r}": with_field(at, value) for at in range(12) for value in (7.5, [[]], {"a": 1}, b"b")
       if not (at == 8 and value == b"b")},
    "a frame of garbage": with_field(8, b"garbage"), "an unknown mode": with_field(1, "live"),
    "a negative position": with_field(6, -1), "no such part": with_field(3, ["no such part"]),
    **{f"the cassette {name!r}": with_field(0, name) for name in ("../x", "/etc/x", "C:x", "", "a\0b", "a/../../b")},
}  # fmt: skip
WRONG_FIELDS = [name for name in PAYLOADS if name.startswith("field ")]
SLOW_PAYLOADS = {"empty lists", *WRONG_FIELDS} - {*WRONG_FIELDS[::3]}  # each field is tried, and each value


@pytest.mark.parametrize("payload", slow_but(set(PAYLOADS) - SLOW_PAYLOADS, PAYLOADS))
def test_a_malformed_journal_is_named_and_the_others_are_recovered(payload: str, root: Path) -> None:
    leave_journal(root, OTHER)
    hostile = root / ".journal" / f"{SCOPE}.1-0123456789abcdef.journal"
    hostile.write_bytes(b"\0" + frame(PAYLOADS[payload]))
    assert find_waiting_recordings(root) == [("good", 1)]
    recovered = recover_journals(root)
    assert recovered.cassettes == [(root / "good.yaml", 1)]
    (failure,) = recovered.failures
    assert str(hostile) in failure
    assert hostile.exists()


def make_pipe(path: Path, elsewhere: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path, elsewhere: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path may not be long
        server.bind(path.name)
        os.chdir(before)


ODD_FILES: dict[str, Callable[[Path, Path], None]] = {
    "a folder": lambda path, elsewhere: path.mkdir(),
    "a pipe": make_pipe,
    "a socket": make_socket,
    "a link to nowhere": lambda path, elsewhere: path.symlink_to("nowhere"),
    "a link to itself": lambda path, elsewhere: path.symlink_to(path.name),
    "a link to a device": lambda path, elsewhere: path.symlink_to("/dev/zero"),
    "a link to a file elsewhere": lambda path, elsewhere: path.symlink_to(elsewhere),
    "a link to a folder": lambda path, elsewhere: path.symlink_to(elsewhere.parent),
}


@needs_posix
@pytest.mark.parametrize("odd", ODD_FILES)
@pytest.mark.parametrize(
    "name", slow_but_each(4, [f"{SCOPE}.1-0123456789abcdef.journal", "evil.journal", "..journal", "*.1.journal"])
)
def test_an_odd_file_in_place_of_a_journal_is_named_and_the_others_are_recovered(
    odd: str, name: str, root: Path, tmp_path: Path
) -> None:
    leave_journal(root, OTHER)
    elsewhere = tmp_path / "outside" / "private"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"\0" + b"private " * 100)
    hostile = root / ".journal" / name
    ODD_FILES[odd](hostile, elsewhere)
    assert find_waiting_recordings(root) == [("good", 1)]
    recovered = recover_journals(root)
    assert recovered.cassettes == [(root / "good.yaml", 1)]
    (failure,) = recovered.failures
    assert f"{hostile} is no journal" in failure
    assert os.path.lexists(hostile)
    assert elsewhere.read_bytes() == b"\0" + b"private " * 100
    kept = [path for path in root.rglob("*") if path != hostile and path.is_file()]
    assert not [path for path in kept if b"private " in path.read_bytes()]


@needs_posix
def test_damaged_bytes_are_not_written_through_a_link(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "victim"
    target.write_text("mine")
    damaged = leave_journal(root)
    damaged.write_bytes(b"\0" + b"echo attacked; " * 10)
    damaged.with_suffix(".damaged").symlink_to(target)
    recover_journals(root)
    assert target.read_text() == "mine"
    assert b"attacked" in damaged.with_suffix(".damaged").read_bytes()


@needs_posix
@pytest.mark.parametrize("name", [".gitignore", "owner"])
def test_no_file_of_the_work_folder_is_written_through_a_link(name: str, root: Path, tmp_path: Path) -> None:
    path = root / "x.yaml"
    work = root / ".journal"
    with hold_cassette_lock(path, root):
        (lock,) = work.glob("*.lock")
    planted = lock.with_suffix(".owner") if name == "owner" else work / name
    work.mkdir(parents=True)
    planted.symlink_to(tmp_path / "victim")
    cassette_files.update_cassette(path, lambda _: Cassette((interaction(b"2"),)), root=root)
    assert not (tmp_path / "victim").exists()


@needs_posix
def test_a_work_folder_that_leads_elsewhere_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    root.mkdir(exist_ok=True)
    (root / ".journal").symlink_to(tmp_path / "outside")
    with pytest.raises(CassetteWriteError, match=r"\.journal is a symbolic link"):
        journal.Journal(root, SCOPE).open()
    assert recover_journals(root).failures == []
    assert not [*(tmp_path / "outside").iterdir()]


@pytest.mark.parametrize("step", [1, 12])
def test_a_journal_full_of_damage_is_read_in_linear_time(
    step: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each offset announces a frame that reaches to the end, and would be summed up to there."""
    path = leave_journal(root)
    size = 600_000
    heads = bytearray(size)
    for at in range(0, size - 12, 12):
        heads[at : at + 4] = (size - at - 8 - step).to_bytes(4)
    path.write_bytes(b"\0" + bytes(heads))
    summed = []
    monkeypatch.setattr(zlib, "crc32", lambda data: summed.append(len(data)))
    assert list(journal.read_entries(path)) == []
    assert 0 < sum(summed) < 20 * size


@pytest.mark.slow
def test_a_run_continues_beside_hostile_journals(project: Project) -> None:
    project.write("answer()")
    work = project.folder / "cassettes" / ".journal"
    work.mkdir(parents=True)
    (work / f"{SCOPE}.1-0123456789abcdef.journal").write_bytes(b"\0" + frame(b"\x81\xa1a\x01"))
    (work / "evil.journal").mkdir()
    output = project.passes("--aquila-record", "-v")
    assert "INTERNALERROR" not in output
    assert f"{SCOPE}.1-0123456789abcdef.journal" in output
    assert "evil.journal is no journal" in " ".join(output.split())
    assert "INTERNALERROR" not in project.passes()


# Compiled copies


def test_a_copy_that_came_with_a_project_changes_no_answer(tmp_path: Path) -> None:
    """A stranger knows the bytes of the cassette and how a copy is written, but not the key."""
    path, cache = tmp_path / "x.yaml", tmp_path / ".pytest_cache"
    path.write_bytes(codec_for(path).dumps(Cassette((interaction(),))))
    true = load_compiled(path, cache)
    (copy,) = cache.iterdir()
    own = copy.read_bytes()
    false = Cassette((interaction(b"a false answer"),))
    content = compiled_copies._content_of(false)
    for key in (b"", b"0" * 32, b"guessed"):
        checksum = user_key.keyed_checksum(key, copy.name.encode(), content) if key else own[: user_key.MAC_SIZE]
        copy.write_bytes(checksum + content)
        assert load_compiled(path, cache) == true
        assert copy.read_bytes() == own


def test_the_compiled_copy_of_one_cassette_is_not_loaded_for_another(tmp_path: Path) -> None:
    one, other, cache = tmp_path / "one.yaml", tmp_path / "other.yaml", tmp_path / "cache"
    for path, answer in ((one, b"1"), (other, b"2")):
        path.write_bytes(codec_for(path).dumps(Cassette((interaction(answer),))))
    first = load_compiled(one, cache)
    (copy_of_one,) = cache.iterdir()
    second = load_compiled(other, cache)
    (copy_of_other,) = set(cache.iterdir()) - {copy_of_one}
    shutil.copy(copy_of_one, copy_of_other)
    assert load_compiled(other, cache) == second != first


@needs_posix
@pytest.mark.parametrize("odd", ODD_FILES)
def test_an_odd_file_in_place_of_a_compiled_copy_is_ignored(odd: str, tmp_path: Path) -> None:
    path, cache, elsewhere = tmp_path / "x.yaml", tmp_path / "cache", tmp_path / "outside" / "private"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"private")
    path.write_bytes(codec_for(path).dumps(Cassette((interaction(),))))
    true = load_compiled(path, cache)
    (copy,) = cache.iterdir()
    copy.unlink()
    ODD_FILES[odd](copy, elsewhere)
    assert load_compiled(path, cache) == true
    assert elsewhere.read_bytes() == b"private"


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache home"))
    return tmp_path / "cache home" / "aquila"


@needs_posix
def test_the_key_is_readable_only_by_the_user_and_replaced_otherwise(cache_home: Path) -> None:
    user_key._load_key.cache_clear()
    key = user_key.user_key()
    assert key is not None
    assert (cache_home / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in cache_home.iterdir()] == ["key"]
    for spoil in (lambda path: path.chmod(0o644), lambda path: path.write_bytes(b"short"), make_link):
        spoil(cache_home / "key")
        user_key._load_key.cache_clear()
        again = user_key.user_key()
        assert again is not None
        assert again != key
        key = again


def make_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


@needs_posix
@pytest.mark.parametrize("home", ["relative/folder", "/proc/nowhere", "/dev/null"])
def test_without_a_place_for_the_key_there_are_no_copies(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    path = tmp_path / "x.yaml"
    path.write_bytes(codec_for(path).dumps(Cassette((interaction(),))))
    for _ in range(2):
        assert load_compiled(path, tmp_path / "cache") == Cassette((interaction(),))
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "relative").exists()


@pytest.mark.slow
def test_processes_that_make_the_key_at_once_agree_on_it(cache_home: Path) -> None:
    code = "from aquila.cassettes.storage.user_key import user_key; print(user_key().hex())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    keys = {process.communicate()[0] for process in running}
    after = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    assert after in keys


# Cassettes


@needs_posix
@pytest.mark.parametrize("odd", ["a folder", "a pipe", "a socket", "a link to a device", "a link to itself"])
@pytest.mark.parametrize("suffix", [".yaml", ".msgpack"])
def test_an_odd_file_in_place_of_a_cassette_is_a_clear_error(odd: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    ODD_FILES[odd](path, tmp_path)
    with pytest.raises(CassetteCorrupt, match=rf"x\{suffix}: cannot be read: "):
        load_cassette(path)


def yaml_with(body: str) -> bytes:
    return (
        "aquila: 1\ninteractions:\n- request:\n    method: POST\n    url: https://api.example/\n"
        f"{body}\n  response:\n    status: 200\n...\n"
    ).encode()


def foreign_with(body: str) -> bytes:
    request = f"    body: {body}\n    headers: {{}}\n    method: POST\n    uri: https://api.example/\n"
    return f"interactions:\n- request:\n{request}  response:\n    status: {{code: 200}}\nversion: 1\n".encode()


def laughs(levels: int) -> str:
    rows = ["&a0 [x,x,x,x,x,x,x,x,x,x]"] + [f"&a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "{" + ",".join(f"k{n}: {row}" for n, row in enumerate(rows)) + "}"


YAML_BOMBS = {
    "aliases": yaml_with(f"    json: {laughs(12)}"),
    "aliases of another recorder": foreign_with(laughs(12)),
    "an alias within itself": foreign_with("&a [*a]"),
    "depth": yaml_with("    json: " + "[" * 100_000 + "]" * 100_000),
    "depth of another recorder": foreign_with("[" * 100_000 + "]" * 100_000),
    "mappings without end": yaml_with("    json: " + "{a: " * 50_000),
    "a huge size": yaml_with(f"    body_file: sha256-{'0' * 64}\n    body_size: {'9' * 5000}"),
    "a path": yaml_with("    body_file: ../../../etc/passwd\n    body_size: 1"),
    "an absolute path": yaml_with("    body_file: /etc/passwd\n    body_size: 1"),
    "a tag that runs code": yaml_with("    json: !!python/object/apply:os.system [echo]"),
    "a tag of another recorder that runs code": foreign_with("!!python/object/apply:os.system [echo x, y]"),
}


@pytest.mark.parametrize("bomb", YAML_BOMBS)
def test_a_yaml_bomb_is_refused_with_its_line(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(YAML_BOMBS[bomb])
    with pytest.raises(CassetteCorrupt, match=r"x\.yaml, line \d+: "):
        load_cassette(path)


@pytest.mark.parametrize("number", ["1" + ":1" * 200_000, "0x" + "f" * 500_000, "0b" + "1" * 500_000, "1" * 500_000])
def test_a_huge_number_in_a_cassette_of_another_recorder_is_kept_as_text(number: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(foreign_with(f"{{a: {number}}}"))
    loaded = load_cassette(path)
    assert number.encode() in loaded.interactions[0].request.body


MSGPACK_BOMBS = {
    "empty lists": b"\xdd" + (3_000_000).to_bytes(4) + b"\x90" * 3_000_000,
    "empty maps": b"\xdd" + (3_000_000).to_bytes(4) + b"\x80" * 3_000_000,
    "depth": b"\x91" * 500 + b"\xc0",
    "a length that lies": b"\xdd\xff\xff\xff\xff",
}


@pytest.mark.parametrize("bomb", MSGPACK_BOMBS)
def test_a_msgpack_bomb_whose_checksum_fits_is_refused(bomb: str, tmp_path: Path) -> None:
    data = MSGPACK_BOMBS[bomb]
    path = tmp_path / "x.msgpack"
    path.write_bytes(b"\x94\xa6aquila\x01\xce" + zlib.crc32(data).to_bytes(4) + data)
    with pytest.raises(CassetteCorrupt, match=r"x\.msgpack: not a cassette"):
        load_cassette(path)


@needs_posix
@pytest.mark.parametrize("odd", ODD_FILES)
def test_an_odd_file_in_place_of_a_body_is_a_clear_error(odd: str, tmp_path: Path) -> None:
    """Also one of the right length elsewhere, for its content does not fit its name."""
    elsewhere = tmp_path / "outside" / "private"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"private")
    name = "sha256-" + "0" * 64
    path = tmp_path / "x.yaml"
    path.write_bytes(yaml_with(f"    body_file: {name}\n    body_size: 7"))
    (tmp_path / "@bodies").mkdir()
    ODD_FILES[odd](tmp_path / "@bodies" / name, elsewhere)
    request = load_cassette(path).interactions[0].request
    with pytest.raises(CassetteCorrupt, match=name):
        _ = request.body


@needs_posix
def test_a_body_file_that_is_a_link_is_not_recovered(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "private"
    elsewhere.write_bytes(b"private" * 50_000)
    path = leave_journal(root)
    large = interaction(b"x" * 350_000)
    left = journal.Journal(root, OTHER)
    moved = left.move_bodies_out(large)
    row = NewRecording(key_of(large.request, MatchRules()), 0, 0, moved)
    left.append_entry(JournalEntry("large", "missing", "last", MatchRules(), row))
    left.close()
    (body,) = (root / ".journal").glob(f"{OTHER}.*.bodies/sha256-*")
    body.unlink()
    body.symlink_to(elsewhere)
    recovered = recover_journals(root)
    assert recovered.cassettes == [(root / "good.yaml", 1)]
    assert "the body of a recording" in " ".join(recovered.failures)
    assert not path.exists()
    assert not [one for one in root.rglob("@bodies/sha256-*") if b"private" in one.read_bytes()]


@needs_posix
@pytest.mark.parametrize("link", ["folder", "bodies", "file"])
def test_no_cassette_is_written_through_a_link(link: str, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "sub").mkdir(parents=True)
    if link == "folder":
        (root / "sub").rmdir()
        (root / "sub").symlink_to(outside)
    elif link == "bodies":
        (root / "sub" / "@bodies").symlink_to(outside)
    else:
        (root / "sub" / "x.yaml").symlink_to(outside / "x.yaml")
    large = Cassette((interaction(b"x" * 350_000),))
    with separate_run(tmp_path), pytest.raises(CassetteError, match="out of the cassette folder"):
        cassette_files.update_cassette(root / "sub" / "x.yaml", lambda _: large, root=root)
    assert not [*outside.iterdir()]
