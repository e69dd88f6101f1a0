"""convert, scan, accept, prune: what reads whole folders, and what changes them."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from aquila.cassettes.matching.request_key import MatchRules, key_of
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk
from aquila.cassettes.storage import cassette_files, journal
from aquila.cassettes.storage.journal import Journal
from aquila.cassettes.storage.merging import NewRecording
from tests.cli.conftest import Cassettes, conversation
from tests.support.cassettes import cassettes as any_cassettes

TOKEN = "ghp_" + "a1B2c3D4e5" * 4
VCRPY = """\
interactions:
- request:
    body: '{"model": "gpt-4o", "messages": [{"role": "user", "content": "%s"}]}'
    headers:
      authorization: [Bearer secret-of-theirs-123456]
      content-type: [application/json]
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
    body: {string: '{"choices": [{"message": {"content": "hi"}}]}'}
    headers: {content-type: [application/json]}
    status: {code: 200, message: OK}
version: 1
"""
CASSETTER = Path(__file__).parents[1] / "cassettes" / "codecs" / "cassetter"
"""Files that cassetter recorded."""


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cassette=any_cassettes())
def test_converting_there_and_back_loses_nothing(cassette: Cassette, cassettes: Cassettes) -> None:
    path = cassettes.folder / "a.yaml"
    cassette_files.save_cassette(path, cassette)
    text = path.read_bytes()
    assert cassettes.run("convert", "a.yaml", "--to", "msgpack", "--replace", "--force").code == 0
    assert not path.exists()
    assert cassettes.run("convert", "a.msgpack", "--to", "yaml", "--replace").code == 0
    assert path.read_bytes() == text
    assert [one.name for one in cassettes.folder.iterdir()] == ["a.yaml"]


def test_convert_keeps_the_source_and_what_exists(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    other = cassettes.write("a.msgpack", conversation("two", "2"))
    before = other.read_bytes()
    done = cassettes.run("convert", "a", "--to", "msgpack")
    assert done.code == 2
    assert "a.msgpack exists; --force replaces it" in done.out
    assert other.read_bytes() == before
    assert cassettes.run("convert", "a", "--to", "msgpack", "--force").code == 0
    assert cassettes.read("a.msgpack") == cassettes.read("a.yaml")


def test_convert_into_another_folder_keeps_the_folders_inside(cassettes: Cassettes) -> None:
    cassettes.write("jobs/a.yaml", conversation("one", "1"))
    found = cassettes.run("convert", "*", "--to", "msgpack", "--output", "compact", "--json").json
    assert [one["to"] for one in found] == [os.path.join("compact", "jobs", "a.msgpack")]
    assert cassette_files.load_cassette(Path("compact/jobs/a.msgpack")) == cassettes.read("jobs/a.yaml")


def test_convert_takes_vcrpys_cassettes_over_in_place_without_their_secrets(cassettes: Cassettes) -> None:
    path = cassettes.folder / "old.yaml"
    path.write_text(VCRPY % TOKEN)
    assert "--replace rewrites it in place" in cassettes.run("convert", "old", "--to", "yaml").out
    assert cassettes.run("convert", "old", "--to", "yaml", "--replace").code == 0
    (one,) = cassettes.read("old.yaml").interactions
    assert json.loads(one.response.body)["choices"][0]["message"]["content"] == "hi"
    assert json.loads(one.request.body)["messages"][0]["content"] == "[redacted]"
    assert path.read_text().startswith("aquila: 1")
    assert "secret-of-theirs" not in path.read_text()


def test_convert_goes_on_behind_a_file_that_it_cannot_read(cassettes: Cassettes) -> None:
    (cassettes.folder / "a.yaml").write_text("aquila: 99\ninteractions: []\n")
    cassettes.write("b.yaml", conversation("one", "1"))
    done = cassettes.run("convert", "*", "--to", "msgpack")
    assert done.code == 2
    assert "not converted: " in done.out
    assert cassettes.read("b.msgpack") == cassettes.read("b.yaml")


def test_scan_finds_nothing_in_clean_cassettes(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    done = cassettes.run("scan")
    assert (done.code, done.out) == (0, "no secrets in 1 file\n")


@pytest.mark.parametrize("name", ["a.yaml", "a.msgpack", "a.pending.yaml", "deep/er/a.yaml"])
def test_scan_names_the_place_and_the_kind_and_never_the_value(name: str, cassettes: Cassettes) -> None:
    path = cassettes.write(name, conversation("one", "1"), conversation(f"use {TOKEN}", "1"))
    done = cassettes.run("scan")
    assert done.code == 1
    assert str(path) in done.out
    assert TOKEN[:10] not in done.out
    (leak,) = cassettes.run("scan", "--json").json["found"]
    if path.suffix == ".yaml":
        assert TOKEN in path.read_text().splitlines()[leak["line"] - 1]
        assert leak["kind"] == "GitHub token"
    else:
        assert (leak["line"], leak["interaction"]) == (None, 2)


def test_scan_finds_a_secret_that_a_stream_holds_in_pieces(cassettes: Cassettes) -> None:
    # Behind the part that stands in the file as the answer's text at a glance.
    path = cassettes.write("a.yaml", conversation("which?", "eagles " * 400 + TOKEN, chunks=400))
    assert TOKEN[:20] not in path.read_text()
    (leak,) = cassettes.run("scan", "--json").json["found"]
    assert leak == {"file": str(path), "line": None, "interaction": 1, "kind": "secret in the answer"}


def test_scan_knows_the_values_of_the_environment(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    cassettes.write("a.yaml", conversation("the word is c0rrect-h0rse", "1"))
    assert cassettes.run("scan").code == 0
    monkeypatch.setenv("DEPLOY_SECRET", "c0rrect-h0rse")
    done = cassettes.run("scan")
    assert done.code == 1
    assert "value of DEPLOY_SECRET" in done.out
    assert "h0rse" not in done.out


def test_scan_reads_any_file_that_is_named(cassettes: Cassettes) -> None:
    Path("notes.txt").write_text(f"first line\nkey = {TOKEN}\n")
    done = cassettes.run("scan", "notes.txt")
    assert done.code == 1
    assert "notes.txt:2: GitHub token" in done.out


def test_scan_fails_for_what_it_cannot_read(cassettes: Cassettes) -> None:
    (cassettes.folder / "a.yaml").write_text("aquila: 1\ninteractions: {\n")
    done = cassettes.run("scan")
    assert done.code == 2
    assert "unreadable: " in done.out


@pytest.mark.parametrize("name", ["http.yaml", "http.toml"])
def test_convert_makes_a_cassette_of_cassetter_aquilas(name: str, cassettes: Cassettes) -> None:
    source = cassettes.folder / name
    source.write_bytes((CASSETTER / name).read_bytes())
    before = cassette_files.load_cassette(source)
    done = cassettes.run("convert", name, "--to", "yaml", "--replace")
    assert done.code == 0
    assert [file.name for file in cassettes.folder.iterdir()] == ["http.yaml"]
    after = cassettes.read("http.yaml")
    assert [one.response.body for one in after.interactions] == [one.response.body for one in before.interactions]
    assert [one.request.url for one in after.interactions] == [one.request.url for one in before.interactions]
    assert "without the header fields " in done.out
    assert "date" in done.out
    assert (cassettes.folder / "http.yaml").read_bytes().startswith(b"aquila: 1\n")


@pytest.mark.parametrize("name", ["grpc.yaml", "websocket.yaml", "observed.yaml"])
def test_convert_leaves_what_it_cannot_read_as_it_is(name: str, cassettes: Cassettes) -> None:
    data = (CASSETTER / name).read_bytes()
    (cassettes.folder / name).write_bytes(data)
    assert cassettes.run("convert", name, "--to", "yaml", "--replace").code == 2
    assert (cassettes.folder / name).read_bytes() == data


def test_scan_takes_no_other_toml_for_a_cassette(cassettes: Cassettes, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("a = 1\n")
    assert cassettes.run("scan", "settings.toml").code == 0


def spoil(cassettes: Cassettes) -> None:
    """Put files that cannot be read before and behind one that can: damaged, a link to nothing, a link to itself."""
    (cassettes.folder / "a.yaml").write_text("aquila: 1\ninteractions: {\n")
    (cassettes.folder / "b.yaml").symlink_to("nowhere.yaml")
    (cassettes.folder / "c.yaml").symlink_to("c.yaml")
    cassettes.write("m.yaml", conversation("one", "1"))
    (cassettes.folder / "z.msgpack").symlink_to("nowhere.msgpack")
    (cassettes.folder / "folder.yaml").mkdir()


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
@pytest.mark.parametrize("words", [["list"], ["stats"], ["scan"], ["convert", "*", "--to", "msgpack"]])
def test_files_that_cannot_be_read_are_named_and_stop_nothing(words: list[str], cassettes: Cassettes) -> None:
    spoil(cassettes)
    done = cassettes.run(*words)
    assert done.code == 2
    assert done.err == ""
    for name in ("a.yaml", "b.yaml", "c.yaml", "z.msgpack"):
        assert str(cassettes.folder / name) in done.out
    assert "folder.yaml" not in done.out
    found = cassettes.run(*words, "--json").json
    if words == ["list"]:
        assert [(one["name"], one["interactions"]) for one in found if not one["error"]] == [("m", 1)]
    elif words == ["stats"]:
        assert (found["interactions"], found["unreadable"]) == (1, 4)
    elif words == ["scan"]:
        assert "no secrets in 1 file\n" in done.out
        assert (found["files"], len(found["unreadable"])) == (1, 4)
    else:
        assert cassettes.read("m.msgpack") == cassettes.read("m.yaml")


def test_accept_goes_on_behind_a_pending_recording_that_it_cannot_read(cassettes: Cassettes) -> None:
    (cassettes.folder / "a.pending.yaml").write_text("aquila: 1\ninteractions: {\n")
    cassettes.write("b.pending.yaml", conversation("one", "1"))
    done = cassettes.run("accept")
    assert done.code == 2
    assert "not accepted: " in done.out
    assert "a.pending.yaml, line" in done.out
    assert (cassettes.folder / "a.pending.yaml").exists()
    assert len(cassettes.read("b.yaml").interactions) == 1


def age(path: Path, seconds: float) -> None:
    """Make a file older."""
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


def test_accept_replaces_a_cassette_that_has_not_changed_since(cassettes: Cassettes) -> None:
    age(cassettes.write("a.yaml", conversation("one", "old"), conversation("gone", "x")), 60)
    pending = cassettes.write("a.pending.yaml", conversation("one", "new"))
    done = cassettes.run("accept")
    assert (done.code, done.out) == (0, "a: replaced, 1 interaction\n")
    assert cassettes.read("a.yaml") == Cassette.from_interactions([conversation("one", "new")])
    assert not pending.exists()


def test_accept_merges_into_a_cassette_that_was_recorded_since(cassettes: Cassettes) -> None:
    age(cassettes.write("a.pending.yaml", conversation("one", "waiting"), conversation("two", "waiting")), 60)
    cassettes.write("a.yaml", conversation("one", "recorded since"))
    assert cassettes.run("accept").out == "a: merged, 2 interactions\n"
    assert cassettes.read("a.yaml") == Cassette.from_interactions(
        [conversation("one", "recorded since"), conversation("two", "waiting")]
    )


def test_accept_makes_a_cassette_that_was_not_there(cassettes: Cassettes) -> None:
    cassettes.write("jobs/a.pending.msgpack", conversation("one", "new"))
    assert cassettes.run("accept", "--json").json == [
        {"cassette": "jobs/a.msgpack", "action": "created", "interactions": 1}
    ]
    assert cassettes.read("jobs/a.msgpack") == Cassette.from_interactions([conversation("one", "new")])


def test_accept_takes_only_what_is_named(cassettes: Cassettes) -> None:
    for name in ("a", "b"):
        cassettes.write(f"{name}.pending.yaml", conversation("one", name))
    assert cassettes.run("accept", "b").code == 0
    assert sorted(path.name for path in cassettes.folder.glob("*.yaml")) == ["a.pending.yaml", "b.yaml"]
    done = cassettes.run("accept", "c")
    assert done.code == 2
    assert "no pending recording of 'c'" in done.err


def test_accept_only_says_what_it_would_do(cassettes: Cassettes) -> None:
    cassettes.write("a.pending.yaml", conversation("one", "new"))
    assert cassettes.run("accept", "--dry-run").out == "a: would be created, 1 interaction\n"
    assert not (cassettes.folder / "a.yaml").exists()


def test_accept_says_when_nothing_is_pending(cassettes: Cassettes) -> None:
    assert cassettes.run("accept").out == "nothing is pending\n"


def test_accept_takes_over_what_an_interrupted_run_left(cassettes: Cassettes) -> None:
    one, rules = conversation("one", "from the journal"), MatchRules()
    left = Journal(cassettes.folder, "0123456789abcdef")
    left.append_entry(
        journal.JournalEntry("a", "missing", "last", rules, NewRecording(key_of(one.request, rules), 0, 0, one))
    )
    left.close()
    assert "aquila cassettes accept" in cassettes.run("list").out
    assert "would store the recordings of 1 interrupted run" in cassettes.run("accept", "--dry-run").out
    assert "stored 1 recording of an interrupted run" in cassettes.run("accept").out
    assert cassettes.read("a.yaml") == Cassette.from_interactions([one])
    assert journal.find_abandoned_journals(cassettes.folder) == {}


@pytest.fixture
def littered(cassettes: Cassettes) -> Cassettes:
    """A folder with one cassette in use and one of each thing that may go."""
    cassettes.write("used.yaml", conversation("one", "1"))
    cassettes.write("used.msgpack", conversation("one", "1"))
    age(cassettes.write("used.pending.yaml", conversation("one", "2")), 60)
    cassettes.write("waiting.pending.yaml", conversation("one", "2"))
    cassettes.write("old/orphan.yaml", conversation("one", "1"))
    half = cassettes.folder / ".used.yaml.0123abcd.tmp"
    half.write_text("aquila")
    age(half, 7200)
    (cassettes.folder / ".other.yaml.0123abcd.tmp").write_text("being written now")
    return cassettes


def files(cassettes: Cassettes) -> list[str]:
    """All files of the folder."""
    return sorted(str(path.relative_to(cassettes.folder)) for path in cassettes.folder.rglob("*") if path.is_file())


SAFE = [".other.yaml.0123abcd.tmp", "old/orphan.yaml", "used.yaml", "waiting.pending.yaml"]


def test_prune_removes_what_nothing_uses(littered: Cassettes) -> None:
    assert littered.run("prune", "--yes").out.endswith("removed 3 files\n")
    assert files(littered) == SAFE


def test_prune_only_says_what_it_would_remove(littered: Cassettes) -> None:
    before = files(littered)
    found = littered.run("prune", "--dry-run", "--json").json
    assert found["removed"] is False
    assert {one["file"] for one in found["files"]} == set(before) - set(SAFE)
    assert files(littered) == before


def test_prune_removes_nothing_when_stdin_is_not_a_terminal(
    littered: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    before = files(littered)
    done = littered.run("prune")
    assert done.code == 2
    assert "stdin is not a terminal, so prune cannot ask; pass --yes" in done.err
    assert files(littered) == before


@pytest.mark.parametrize(("answer", "removed"), [("y", True), ("yes", True), ("", False), ("n", False)])
def test_prune_asks(answer: str, removed: bool, littered: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO(f"{answer}\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    done = littered.run("prune")
    assert done.code == 0
    assert "Remove 3 files" in done.out
    assert (files(littered) == SAFE) is removed


def test_prune_takes_the_cassettes_that_no_test_used_from_a_run(littered: Cassettes) -> None:
    Path("run.log").write_text(
        "1 passed\n\x1b[33maquila: no test used old/orphan.yaml\x1b[0m\naquila: no test used ../../etc/passwd\n"
    )
    found = littered.run("prune", "--orphans", "run.log", "--yes", "--json").json
    assert {"old/orphan.yaml"} == {one["file"] for one in found["files"] if one["why"] == "no test used it"}
    assert files(littered) == [name for name in SAFE if name != "old/orphan.yaml"]
    assert not (littered.folder / "old").exists()


@pytest.mark.parametrize("content", ["some other text\n", None])
def test_prune_refuses_what_is_no_output_of_a_run(content: str | None, littered: Cassettes) -> None:
    if content is not None:
        Path("run.log").write_text(content)
    before = files(littered)
    assert littered.run("prune", "--orphans", "run.log", "--yes").code == 2
    assert files(littered) == before


def test_prune_of_a_tidy_folder_removes_nothing(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    assert cassettes.run("prune").out == "nothing to remove\n"


def with_large_body(body: bytes = b"\0large" * 60_000) -> Interaction:
    one = conversation("hi", "x")
    return replace(one, response=replace(one.response, chunks=(RecordedChunk(body, 1),)))


def test_convert_takes_large_bodies_along(cassettes: Cassettes) -> None:
    cassettes.write("a/x.yaml", with_large_body())
    assert cassettes.run("convert", "a/x.yaml", "--to", "msgpack", "--output", "elsewhere").code == 0
    (moved,) = cassette_files.load_cassette(Path("elsewhere/a/x.msgpack")).interactions
    assert moved.response.body == b"\0large" * 60_000
    assert sorted(path.name for path in Path("elsewhere/a").iterdir()) == sorted(["@bodies", "x.msgpack"])


def test_scan_searches_large_bodies(cassettes: Cassettes) -> None:
    cassettes.write("x.yaml", with_large_body(b"much " * 60_000 + b"sk-proj-" + b"a1B2c3D4e5F6g7H8i9J0 "))
    done = cassettes.run("scan")
    assert done.code == 1
    assert "secret in the answer" in done.out


def test_prune_removes_large_bodies_that_no_cassette_has_any_more(cassettes: Cassettes) -> None:
    cassettes.write("x.yaml", with_large_body())
    cassettes.write("y.yaml", with_large_body())
    cassettes.write("x.yaml", conversation("hi", "small"))
    assert "nothing to remove" in cassettes.run("prune", "--yes").out
    cassettes.write("y.yaml", conversation("hi", "small"))
    done = cassettes.run("prune", "--yes")
    assert "no cassette has this body" in done.out
    assert not (cassettes.folder / "@bodies").exists()
