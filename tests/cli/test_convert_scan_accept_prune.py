"""The commands convert, scan, accept and prune."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_at_origin
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedResponse
from aquila.cassettes.storage import cassette_files, journal, recorded_uses
from aquila.cassettes.storage.journal import Journal
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.names import WORK_FOLDER, cassette_path
from aquila.cassettes.storage.recorded_uses import UNUSED_REPORT
from aquila.cli import main
from aquila.recording.storing import recording_age
from aquila.server import background_server
from aquila.shell_words import quote_word
from tests.cli.conftest import Cassettes, conversation
from tests.review.test_reviewing import apply_and_be_killed, open_review
from tests.support.cassettes import cassettes as any_cassettes
from tests.support.examples import examples
from tests.support.pipes import pipe_with_a_writer

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
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cassette=any_cassettes())
@pytest.mark.slow
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
    for more in ([], ["--replace"]):
        done = cassettes.run("convert", "a", "--to", "msgpack", *more)
        assert done.code == 2
        assert "a.msgpack exists; --force replaces it" in done.out
        assert other.read_bytes() == before
    assert cassettes.run("convert", "a", "--to", "msgpack", "--force").code == 0
    assert cassettes.read("a.msgpack") == cassettes.read("a.yaml")


def test_convert_removes_a_new_result_if_the_source_cannot_be_removed(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    really = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "a.yaml":
            raise PermissionError(1, "Operation not permitted")
        really(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    done = cassettes.run("convert", "a", "--to", "msgpack", "--replace")
    assert done.code == 2
    assert "a.yaml: Operation not permitted" in done.out
    assert files(cassettes) == ["a.yaml"]
    cassettes.write("a.msgpack", conversation("one", "before"))
    assert cassettes.run("convert", "a", "--to", "msgpack", "--replace", "--force").code == 2
    assert files(cassettes) == ["a.msgpack", "a.yaml"]  # what was there before is not removed


def test_convert_writes_nothing_if_the_result_does_not_read_back_equal(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cassettes.write("a.yaml", conversation("hi", "ho")).read_bytes()
    reads_nothing = SimpleNamespace(loads=lambda data, source: Cassette())
    monkeypatch.setattr("aquila.cli.cassettes.cassettes_convert.codec_for", lambda path: reads_nothing)
    done = cassettes.run("convert", "a", "--to", "msgpack", "--replace")
    assert done.code == 2
    assert "written as msgpack it does not read back equal; nothing was changed" in done.out
    assert {path.name: path.read_bytes() for path in cassettes.folder.iterdir()} == {"a.yaml": before}


def test_convert_works_where_file_times_cannot_be_set(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    cassettes.write("a.yaml", conversation("one", "1"))
    monkeypatch.setattr(os, "utime", refuse)
    assert cassettes.run("convert", "a", "--to", "msgpack", "--replace").code == 0
    assert files(cassettes) == ["a.msgpack"]


def test_convert_into_another_folder_keeps_the_folders_inside(cassettes: Cassettes) -> None:
    cassettes.write("jobs/a.yaml", conversation("one", "1"))
    found = cassettes.run("convert", "*", "--to", "msgpack", "--output", "compact", "--json").json
    assert [one["to"] for one in found] == [os.path.join("compact", "jobs", "a.msgpack")]
    assert cassette_files.load_cassette(Path("compact/jobs/a.msgpack")) == cassettes.read("jobs/a.yaml")


@pytest.mark.parametrize("name", ["old.yaml", "old.yml"])
def test_convert_rewrites_a_cassette_of_vcrpy_in_place_without_its_secrets(name: str, cassettes: Cassettes) -> None:
    path = cassettes.folder / name
    path.write_text(VCRPY % TOKEN)
    assert "--replace rewrites it in place" in cassettes.run("convert", name, "--to", "yaml").out
    assert cassettes.run("convert", name, "--to", "yaml", "--replace").code == 0
    (one,) = cassettes.read(name).interactions
    assert json.loads(one.response.body)["choices"][0]["message"]["content"] == "hi"
    assert json.loads(one.request.body)["messages"][0]["content"] == "[redacted]"
    assert path.read_text().startswith("aquila: 1")
    assert "secret-of-theirs" not in path.read_text()


def test_convert_rewrites_a_json_cassette_of_vcrpy_under_its_name(cassettes: Cassettes) -> None:
    request = {"method": "GET", "uri": "https://api.example.com/v1/birds", "headers": {"accept": ["*/*"]}, "body": None}
    status = {"code": 200, "message": "OK"}
    response = {"status": status, "headers": {"content-type": ["text/plain"]}, "body": {"string": "a tern 🐦 \t\x7f"}}
    old = {"version": 1, "interactions": [{"request": request, "response": response}]}
    (cassettes.folder / "old.json").write_text(json.dumps(old, indent=4) + "\n")
    (cassettes.folder / "settings.json").write_text('{"interactions": "none of a cassette", "version": 1}')
    (cassettes.folder / "birds.json").write_text('{"birds": ["tern"]}')
    assert "old.json" in cassettes.run("list").out
    assert cassettes.run("convert", "old.json", "--to", "yaml").code == 0
    listed = [row["name"] for row in cassettes.run("list", "--json").json]
    assert listed == ["old.json", "old.json.yaml", "settings.json"]
    (row,) = cassettes.run("list", "--json", "old.json.yaml").json
    assert row["path"].endswith("old.json.yaml")
    (cassettes.folder / "old.json.yaml").unlink()
    assert "settings.json" in cassettes.run("convert", "--to", "yaml", "--replace", str(cassettes.folder)).out
    assert files(cassettes) == ["birds.json", "old.json.yaml", "settings.json"]
    (one,) = cassettes.read("old.json.yaml").interactions
    assert (one.request.method, one.request.url) == ("GET", "https://api.example.com/v1/birds")
    assert (one.response.status, one.response.body) == (200, "a tern 🐦 \t\x7f".encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"version": 1, "interactions": [', "not JSON"),
        ('{"version": 1, "interactions": [{}]}', "interactions[0]"),
        ('{"version": 2, "interactions": []}', "a version that is not known"),
        ('{"interactions": [], "aquila": 1}', "not a cassette of vcrpy"),
        ('{"interactions": ' + "[" * 100_000, "old.json: nested too deeply to be read"),
    ],
)
def test_a_damaged_json_cassette_is_told_with_its_reason(text: str, reason: str, cassettes: Cassettes) -> None:
    (cassettes.folder / "old.json").write_text(text)
    done = cassettes.run("show", "old.json")
    assert done.code == 2
    assert reason in done.out + done.err


@pytest.mark.parametrize("name", ["a.yaml", "a.msgpack", "a.pending.yaml", "deep/er/a.yaml"])
def test_scan_names_the_place_and_the_kind_and_never_the_value(name: str, cassettes: Cassettes) -> None:
    path = cassettes.write(name, conversation("one", "1"), conversation(f"use {TOKEN}", "1"))
    done = cassettes.run("scan")
    assert done.code == 1
    assert TOKEN[:10] not in done.out
    (leak,) = cassettes.run("scan", "--json").json["found"]
    if path.suffix == ".yaml":
        assert TOKEN in path.read_text().splitlines()[leak["line"] - 1]
        assert f"{path}:{leak['line']}: GitHub token\n" in done.out
    else:
        assert (leak["line"], leak["interaction"]) == (None, 2)
        assert f"{path}: secret in the request (interaction 2)\n" in done.out


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", "grant_type=x&client_secret={}"),
        ("application/x-www-form-urlencoded", "client_secret={}&y=1"),
        ("application/json", '{{"client_secret": "{}", "password": "{}"}}'),
        (
            "multipart/form-data; boundary=x",
            '--x\r\ncontent-disposition: form-data; name="password"\r\n\r\n{}\r\n--x--',
        ),
    ],
)
@pytest.mark.parametrize("word", ["scrubbed", "%5BFILTERED%5D", "<fake>"])
def test_scan_knows_placeholders_of_other_recorders(word: str, kind: str, body: str, cassettes: Cassettes) -> None:
    plain = conversation("one", "1")
    for value, code in ((word, 0), (f"{word}-1", 1)):
        url, content = f"https://api.example.com/token?api_key={value}", body.format(value, value).encode()
        request = replace(plain.request, url=url, headers=(("content-type", kind),), body=content)
        cassettes.write("a.msgpack", replace(plain, request=request))
        assert cassettes.run("scan").code == code


def with_url(one: Interaction) -> Interaction:
    return replace(one, request=replace(one.request, url=f"{one.request.url}?q={TOKEN}"))


def with_header(one: Interaction) -> Interaction:
    return replace(one, response=replace(one.response, headers=(("content-type", f"text/plain; a={TOKEN}"),)))


def with_error(one: Interaction) -> Interaction:
    return replace(one, response=replace(one.response, end="broken", error=f"reset while sending {TOKEN}"))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (with_url, "secret in the request"),
        (with_header, "secret in the header field content-type"),
        (with_error, "secret in the answer"),
    ],
)
def test_scan_searches_every_part_of_a_recording(
    change: Callable[[Interaction], Interaction], kind: str, cassettes: Cassettes
) -> None:
    path = cassettes.write("a.msgpack", change(conversation("one", "1")))
    path.rename("outside.msgpack")  # a copy that somebody has put elsewhere
    assert [leak["kind"] for leak in cassettes.run("scan", "--json", "outside.msgpack").json["found"]] == [kind]


def test_scan_finds_a_secret_that_a_stream_holds_in_pieces(cassettes: Cassettes) -> None:
    # After the part that the file shows as the text of the answer.
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have a name")
def test_scan_waits_for_no_pipe(cassettes: Cassettes) -> None:
    pipe = cassettes.folder / "pipe.yaml"
    with pipe_with_a_writer(pipe):
        done = cassettes.run("scan")
    assert (done.code, done.out) == (
        2,
        f"unreadable: {pipe.relative_to(Path.cwd())}: Not a regular file\nno secrets in 0 files\n",
    )


def test_scan_says_that_a_name_is_neither_a_file_nor_a_cassette(cassettes: Cassettes, tmp_path: Path) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    assert "there is no file 'nofile.txt', and no cassette of that name in " in cassettes.run("scan", "nofile.txt").err
    cassettes.folder.rename(tmp_path / "elsewhere")
    assert "there is no file 'nofile.txt', and no cassette" in cassettes.run("scan", "nofile.txt").err


@pytest.mark.parametrize(("name", "target"), [("http.yaml", "http.yaml"), ("http.toml", "http.toml.yaml")])
def test_convert_rewrites_a_cassette_of_cassetter(name: str, target: str, cassettes: Cassettes) -> None:
    source = cassettes.folder / name
    source.write_bytes((CASSETTER / name).read_bytes())
    before = cassette_files.load_cassette(source)
    done = cassettes.run("convert", name, "--to", "yaml", "--replace")
    assert done.code == 0
    assert [file.name for file in cassettes.folder.iterdir()] == [target]
    assert cassette_path(cassettes.folder, name).name == target  # the test goes on naming the old file
    after = cassettes.read(target)
    assert [one.response.body for one in after.interactions] == [one.response.body for one in before.interactions]
    assert [one.request.url for one in after.interactions] == [one.request.url for one in before.interactions]
    assert "1 file without header fields that recordings do not have; " in done.out
    assert "server" in done.out
    assert (cassettes.folder / target).read_bytes().startswith(b"aquila: 1\n")


def test_convert_recognizes_its_own_cassette_with_a_byte_order_mark(cassettes: Cassettes) -> None:
    one = conversation("one", "1")
    one = replace(one, request=replace(one.request, headers=(("x-kept", "1"),)))
    path = cassettes.write("a.yaml", one)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    done = cassettes.run("convert", "a", "--to", "yaml", "--replace")
    assert (done.code, "without header fields" in done.out) == (0, False)
    assert cassettes.read("a.yaml").interactions == (one,)


def test_convert_of_many_files_names_each_header_field_that_is_left_out_once(cassettes: Cassettes) -> None:
    for name in ("a.yaml", "b.yaml", "c.yaml"):
        cassettes.folder.joinpath(name).write_bytes((CASSETTER / "http.yaml").read_bytes())
    path = cassettes.folder / "c.yaml"
    path.write_bytes(path.read_bytes().replace(b"server:", b"set-cookie:\n      - a=1\n      server:", 1))
    done = cassettes.run("convert", "a", "b", "c", "--to", "yaml", "--replace")
    assert "3 files without header fields that recordings do not have; " in done.out
    assert done.out.endswith("; never kept, because they carry credentials: set-cookie (1)\n")
    assert done.out.count("server (3)") == done.out.count("server") == 1


@pytest.mark.parametrize("name", ["grpc.yaml", "observed.yaml"])
def test_convert_leaves_what_it_cannot_read_as_it_is(name: str, cassettes: Cassettes) -> None:
    data = (CASSETTER / name).read_bytes()
    (cassettes.folder / name).write_bytes(data)
    assert cassettes.run("convert", name, "--to", "yaml", "--replace").code == 2
    assert (cassettes.folder / name).read_bytes() == data


def test_convert_rewrites_conversations_of_cassetter(cassettes: Cassettes) -> None:
    (cassettes.folder / "a.yaml").write_bytes((CASSETTER / "websocket.yaml").read_bytes())
    assert cassettes.run("convert", "a", "--to", "yaml", "--replace").code == 0
    text = (cassettes.folder / "a.yaml").read_text()
    assert text.startswith("aquila: 1\n")
    assert text.count("- kind: websocket\n") == 2
    assert "    - close: {by: provider, code: 1001, reason: going away}\n" in text


def test_scan_reads_a_file_outside_that_is_no_cassette_as_text(cassettes: Cassettes, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("a = 1\n")
    (tmp_path / "settings.yml").write_text("a: 1\n")
    assert cassettes.run("scan", "settings.toml", "settings.yml").code == 0
    damaged = "aquila: 1\ninteractions: {\n"
    for content in (damaged, f"\ufeff{damaged}", damaged.replace("aquila", '"aquila"'), "{'interactions': [\n"):
        (tmp_path / "settings.yaml").write_text(content, "utf-8")
        assert cassettes.run("scan", "settings.yaml").code == 2
    (tmp_path / "settings.yaml").write_text("a: 1\n", "utf-16")
    assert cassettes.run("scan", "settings.yaml").code == 2


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
    lead = "not converted" if words[0] == "convert" else "unreadable"
    for name in ("a.yaml", "b.yaml", "c.yaml", "z.msgpack"):
        assert f"\n{lead}: cassettes/{name}" in f"\n{done.out}"
    assert "folder.yaml" not in done.out
    found = cassettes.run(*words, "--json").json
    if words == ["list"]:
        assert [(one["name"], one["interactions"]) for one in found if not one["error"]] == [("m", 1)]
        assert done.out.count("  unreadable\n") == 4
    elif words == ["stats"]:
        assert (found["interactions"], len(found["unreadable"])) == (1, 4)
    elif words == ["scan"]:
        assert "no secrets in 1 file\n" in done.out
        assert (found["files"], len(found["unreadable"])) == (1, 4)
    else:
        assert cassettes.read("m.msgpack") == cassettes.read("m.yaml")


def test_accept_continues_after_a_pending_recording_that_it_cannot_read(cassettes: Cassettes) -> None:
    (cassettes.folder / "a.pending.yaml").write_text("aquila: 1\ninteractions: {\n")
    cassettes.write("b.pending.yaml", conversation("one", "1"))
    done = cassettes.run("accept", "--yes")
    assert done.code == 2
    assert "not accepted: " in done.out
    assert "a.pending.yaml, line" in done.out
    assert (cassettes.folder / "a.pending.yaml").exists()
    assert len(cassettes.read("b.yaml").interactions) == 1


LEFT_OUT = "; left out, because not later than the cassette's own: "


@pytest.mark.parametrize("is_recorded", [False, True])
def test_accept_takes_back_what_a_killed_review_had_begun_unless_a_run_has_recorded_since(
    cassettes: Cassettes, is_recorded: bool
) -> None:
    old, new = (
        [conversation("one", "1"), conversation("two", "2")],
        [conversation("one", "x"), conversation("two", "y")],
    )
    cassettes.write("a.yaml", *old)
    review = open_review(("a", cassettes.write("a.pending.yaml", *new), cassettes.folder))
    review.decide(review.items[:1], "accept")
    review.decide(review.items[1:], "reject")
    with pytest.MonkeyPatch.context() as patch:
        apply_and_be_killed(review, patch)
    assert cassettes.read("a.yaml").interactions == (new[0], old[1])
    if is_recorded:
        cassettes.write("a.yaml", *old, conversation("three", "z"))
    cassettes.write("b.pending.yaml", conversation("b", "1"))
    assert cassettes.run("accept", "b").code == 0
    assert len(cassettes.read("a.yaml").interactions) == 2 + is_recorded
    assert cassettes.read("a.yaml").interactions[:2] == tuple(old)
    told = f"merged, 3 interactions{LEFT_OUT}2 recordings" if is_recorded else "replaced, 2 interactions"
    assert cassettes.run("accept", "a").out == f"a: {told}\n"


def age(path: Path, seconds: float) -> None:
    """Make a file older."""
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


def test_accept_replaces_a_cassette_that_has_not_changed_since(cassettes: Cassettes) -> None:
    age(cassettes.write("a.yaml", conversation("one", "old"), conversation("gone", "x")), 60)
    pending = cassettes.write("a.pending.yaml", conversation("one", "new"))
    done = cassettes.run("accept", "--yes")
    assert (done.code, done.out) == (0, "a: replaced, 1 interaction\n")
    assert cassettes.read("a.yaml") == Cassette.from_interactions([conversation("one", "new")])
    assert not pending.exists()


def test_accept_merges_into_a_cassette_that_was_recorded_since(cassettes: Cassettes) -> None:
    age(cassettes.write("a.pending.yaml", conversation("one", "waiting"), conversation("two", "waiting")), 60)
    cassettes.write("a.yaml", conversation("one", "recorded since"))
    assert cassettes.run("accept", "--yes").out == f"a: merged, 2 interactions{LEFT_OUT}1 recording\n"
    assert cassettes.read("a.yaml") == Cassette.from_interactions(
        [conversation("one", "recorded since"), conversation("two", "waiting")]
    )


def test_accept_keeps_what_waits_although_git_has_written_the_cassette_since(cassettes: Cassettes) -> None:
    """To switch to another branch and back gives the cassette a new time of change, and no new recording."""
    later = replace(conversation("one", "waiting"), recorded="2026-11-25T12:00:00Z")
    age(cassettes.write("a.pending.yaml", later), 60)
    cassettes.write("a.yaml", conversation("one", "old"), conversation("two", "old"))
    assert cassettes.run("prune", "--dry-run", "--json").json["files"] == []
    assert cassettes.run("accept", "--yes").out == "a: merged, 2 interactions\n"
    assert cassettes.read("a.yaml") == Cassette.from_interactions([later, conversation("two", "old")])


def test_accept_merges_an_older_recording_that_was_copied_here_later(cassettes: Cassettes) -> None:
    """As where the pending files of a job in CI are downloaded after the cassettes were recorded again."""
    since = replace(conversation("one", "recorded since"), recorded="2026-11-25T12:00:00Z")
    age(cassettes.write("a.yaml", since), 60)
    cassettes.write("a.pending.yaml", conversation("one", "waiting"), conversation("two", "waiting"))
    assert cassettes.run("accept", "--yes").out == f"a: merged, 2 interactions{LEFT_OUT}1 recording\n"
    assert cassettes.read("a.yaml") == Cassette.from_interactions([since, conversation("two", "waiting")])


def test_accept_creates_a_missing_cassette(cassettes: Cassettes) -> None:
    cassettes.write("jobs/a.pending.msgpack", conversation("one", "new"))
    assert cassettes.run("accept", "--yes", "--json").json == [
        {"cassette": "jobs/a.msgpack", "action": "created", "interactions": 1, "left_out": 0}
    ]
    assert cassettes.read("jobs/a.msgpack") == Cassette.from_interactions([conversation("one", "new")])


def test_accept_takes_only_what_is_named(cassettes: Cassettes) -> None:
    for name in ("a", "b"):
        cassettes.write(f"{name}.pending.yaml", conversation("one", name))
    assert cassettes.run("accept", "b").code == 0
    assert sorted(path.name for path in cassettes.folder.glob("*.yaml")) == ["a.pending.yaml", "b.yaml"]
    done = cassettes.run("accept", "c")
    assert done.code == 2
    assert "no pending recording of 'c' in cassettes; known are a\n" in done.err


@pytest.fixture
def two_pending(cassettes: Cassettes) -> Cassettes:
    """Two files that wait: one is new, one has another answer, a new request, and lacks one that the cassette has."""
    new, other = conversation("two", "2"), replace(conversation("one", "new"), model="gpt-5", recorded="")
    cassettes.write("a.pending.yaml", conversation("one", "1"))
    age(cassettes.write("b [1].yaml", conversation("one", "old"), conversation("gone", "x")), 60)
    cassettes.write("b [1].pending.yaml", other, replace(new, recorded=""))
    return cassettes


def test_accept_without_a_name_and_terminal_lists_pending_recordings_and_commands(two_pending: Cassettes) -> None:
    done = two_pending.run("accept")
    assert done.code == 1
    assert [line.split("  ", 1)[1].strip() for line in done.out.splitlines()[1:]] == [
        f"1 recording (1 new recording), {recording_age.describe_age('2026-11-24T12:00:00Z')}",
        "2 recordings (1 changed prompt, 1 changed answer), of gpt-5",
    ]
    assert "nothing was accepted" in done.err
    assert "name it: aquila cassettes accept a. To accept everything: aquila cassettes accept --yes" in done.err
    shown = two_pending.run("accept", "--dir", "cassettes").err
    assert "accept a --dir cassettes. To accept everything: aquila cassettes accept --yes --dir cassettes" in shown
    listed = two_pending.run("accept", "--json").json
    assert [[one[kind] for kind in ("count", "new", "prompt", "answer", "gone")] for one in listed] == [
        [1, 1, 0, 0, 0],
        [2, 0, 1, 1, 0],
    ]
    assert sorted(path.name for path in two_pending.folder.iterdir()) == [
        "a.pending.yaml", "b [1].pending.yaml", "b [1].yaml",
    ]  # fmt: skip


def test_accept_without_a_name_asks_for_each_file(two_pending: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "y" if "b [1]" in question else ""

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    assert two_pending.run("accept").out.endswith("b [1]: replaced, 2 interactions\n")
    assert asked == ["Accept a? [y/N] ", "Accept b [1]? [y/N] "]
    assert sorted(path.name for path in two_pending.folder.glob("*.yaml")) == ["a.pending.yaml", "b [1].yaml"]
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert two_pending.run("accept").out.endswith("nothing was accepted\n")


def test_accept_with_dry_run_changes_nothing(cassettes: Cassettes) -> None:
    cassettes.write("a.pending.yaml", conversation("one", "new"))
    assert cassettes.run("accept", "--dry-run").out == "a: would be created, 1 interaction\n"
    assert not (cassettes.folder / "a.yaml").exists()


def begin_journal(cassettes: Cassettes, one: Interaction, mode: str = "missing", **more: Any) -> Journal:
    """Return the journal of a run that has made a recording. It is that of an interrupted run when it is closed."""
    begun, rules = Journal(cassettes.folder, "0123456789abcdef"), MatchRules()
    row = NewRecording(key_at_origin(one.request, rules), 0, 0, one, **more)
    begun.append_entry(JournalEntry("a", mode, "last", rules, row))
    return begun


@pytest.mark.parametrize(("words", "name"), [([], "a.yaml"), (["--to", "msgpack"], "a.msgpack")])
def test_accept_takes_over_what_an_interrupted_run_left(words: list[str], name: str, cassettes: Cassettes) -> None:
    one = conversation("one", "from the journal")
    begin_journal(cassettes, one).close()
    assert "aquila cassettes accept" in cassettes.run("list").out
    assert "an interrupted run has left some: `aquila cassettes accept`" in cassettes.run("accept", "a").err
    assert "did you mean 'a'?" in cassettes.run("accept", "aa").err
    assert "would store the recordings of 1 interrupted run" in cassettes.run("accept", "--dry-run").out
    assert "stored 1 recording of an interrupted run" in cassettes.run("accept", "--yes", *words).out
    assert cassettes.read(name) == Cassette.from_interactions([one])
    assert journal.find_abandoned_journals(cassettes.folder) == {}


@pytest.mark.parametrize("words", [[], ["--yes"]])
def test_accept_accepts_what_an_interrupted_run_recorded_anew(
    words: list[str], cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("a.yaml", conversation("one", "old"))
    new = replace(conversation("one", "new"), recorded="2026-11-25T12:00:00Z")
    begin_journal(cassettes, new, "all").close()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "y")
    told = "a: stored 1 recording of an interrupted run\na: replaced, 1 interaction\n"
    assert cassettes.run("accept", *words).out.endswith(told)
    assert cassettes.read("a.yaml") == Cassette.from_interactions([new])
    assert cassettes.run("accept", "--yes").out == "nothing is pending\n"


def test_a_server_that_records_stores_what_a_killed_one_left_before_it_answers(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = conversation("one", "from the journal")
    begin_journal(cassettes, one).close()
    path, stored = cassettes.folder / "a.yaml", list[bool]()
    answering = SimpleNamespace(run=lambda sockets: stored.append(path.exists()))
    monkeypatch.setattr(background_server, "make_server", lambda *_, **options: answering)
    for words in ([], ["--record"], ["--record"]):
        assert main(["serve", "--port", "0", *words]) == 0
    assert stored == [False, True, True]
    assert capsys.readouterr().out.count("\na: stored 1 recording of an interrupted run\n") == 1
    assert cassettes.read("a.yaml") == Cassette.from_interactions([one])


def test_an_unfinished_answer_in_a_journal_is_not_offered(cassettes: Cassettes) -> None:
    one = conversation("one", "cut off")
    cut = replace(one, response=replace(one.response, end="silent"))
    begin_journal(cassettes, cut, left_open=True).close()
    assert "accept" not in cassettes.run("list").out
    assert cassettes.run("accept", "--dry-run").out == "nothing is pending\n"


def test_a_journal_that_was_merged_already_is_not_offered(cassettes: Cassettes) -> None:
    left = begin_journal(cassettes, conversation("one", "lost"))
    (path,) = journal.find_journals_of(cassettes.folder, "0123456789abcdef")
    journal.discard_journal(path, merged=journal.size_of(path))
    left.close()
    assert path.exists()
    assert "accept" not in cassettes.run("list").out


def test_a_damaged_journal_is_reported(cassettes: Cassettes) -> None:
    begin_journal(cassettes, conversation("one", "lost")).close()
    ((path,),) = journal.find_abandoned_journals(cassettes.folder).values()
    path.write_bytes(path.read_bytes()[:50])
    assert "aquila cassettes accept" in cassettes.run("list").out
    assert "would store" in cassettes.run("accept", "--dry-run").out
    assert "was damaged or cut off" in cassettes.run("accept", "--yes").out


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
    """All files of the folder, but for the locks."""
    names = [path.relative_to(cassettes.folder) for path in cassettes.folder.rglob("*") if path.is_file()]
    return sorted(str(name) for name in names if WORK_FOLDER not in name.parts)


SAFE = [".other.yaml.0123abcd.tmp", "old/orphan.yaml", "used.yaml", "waiting.pending.yaml"]


def test_prune_removes_what_nothing_uses(littered: Cassettes) -> None:
    assert littered.run("prune", "--yes").out.endswith("removed 3 files\n")
    assert files(littered) == SAFE


def test_prune_with_dry_run_removes_nothing(littered: Cassettes) -> None:
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
    in_json = littered.run("prune", "--json")
    assert in_json.code == 2
    assert "--json is given, so prune cannot ask; pass --yes" in in_json.err
    assert in_json.json == littered.run("prune", "--dry-run", "--json").json
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


def test_a_terminal_that_is_closed_at_the_question_removes_and_accepts_nothing(
    littered: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO("")
    closed.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", closed)
    before = files(littered)
    done = littered.run("prune")
    assert done.code == 0
    assert done.out.endswith("[y/N] \n")
    assert littered.run("accept").code == 0
    assert files(littered) == before


def test_prune_lists_unreadable_files_in_its_json(cassettes: Cassettes) -> None:
    (cassettes.folder / "broken.yaml").write_text("aquila: 1\ninteractions: {\n")
    found = cassettes.run("prune", "--dry-run", "--json").json
    assert [str(cassettes.folder / "broken.yaml") in each for each in found["unreadable"]] == [True]


def test_prune_finds_a_superseded_pending_file_of_the_other_format(cassettes: Cassettes) -> None:
    cassettes.write("a.msgpack", conversation("one", "1"))
    os.utime(cassettes.write("a.pending.yaml", conversation("one", "2")), (0, 0))
    os.utime(cassettes.write("b.yaml", conversation("one", "1")), (0, 0))
    cassettes.write("b.pending.yaml", conversation("one", "2"))  # newer than its cassette, so it still waits
    found = cassettes.run("prune", "--dry-run", "--json").json["files"]
    assert [(each["file"], each["why"]) for each in found] == [
        ("a.pending.yaml", "its cassette was recorded again later")
    ]


def report_of_run(cassettes: Cassettes, *names: str, **more: Any) -> dict[str, Any]:
    """Write ``unused.json``, the report of a run that used none of some cassettes."""
    rows = [
        {"folder": "cassettes", "file": name, "sha256": sha256((cassettes.folder / name).read_bytes()).hexdigest()}
        for name in names
    ]
    report = {"report": UNUSED_REPORT, "complete": True, "partial_because": [], "unused": rows, "kept": [], **more}
    Path("unused.json").write_text(json.dumps(report))
    return report


def test_prune_removes_the_cassettes_that_a_report_lists_as_unused(littered: Cassettes) -> None:
    littered.write("old/orphan.pending.yaml", conversation("one", "2"))
    changed = littered.write("changed.yaml", conversation("one", "1"))
    report = report_of_run(littered, "old/orphan.yaml", "changed.yaml")
    inner = littered.write("tests/of/vcr.yaml", conversation("one", "of a suite that records beside its tests"))
    of_inner = {"folder": "cassettes/tests/of", "file": "vcr.yaml", "sha256": sha256(inner.read_bytes()).hexdigest()}
    recorded_uses.update_uses(inner.parent, {"test_a": ["vcr", "used"]}, whole=["test_a"])
    more = ({"file": "../pytest.ini"}, {"file": "removed.since.yaml"}, {"folder": "more"}, of_inner)
    report["unused"] += [{**report["unused"][0], **changes} for changes in more]
    Path("unused.json").write_text(json.dumps(report))
    littered.write("changed.yaml", conversation("one", "recorded since"))
    recorded_uses.update_uses(littered.folder, {"test_a": ["old/orphan", "used"]}, whole=["test_a"])
    dry = littered.run("prune", "--orphans", "unused.json", "--dry-run").out
    assert f"{changed} has changed since the run, and is left alone" in dry
    assert "1 unused cassette in more: name that folder with --dir" in dry
    found = littered.run("prune", "--orphans", "unused.json", "--yes", "--json").json
    assert {one["file"]: one["why"] for one in found["files"] if one["file"].startswith("old/")} == {
        "old/orphan.yaml": "no test used it",
        "old/orphan.pending.yaml": "no test used its cassette",
    }
    assert Path("pytest.ini").exists()
    assert changed.exists()
    left = [name for name in files(littered) if not name.startswith(".journal")]
    expected = {*SAFE, "changed.yaml", "@tests.jsonl", "tests/of/@tests.jsonl"}
    assert left == sorted(expected - {"old/orphan.yaml"})
    assert not (littered.folder / "old").exists()  # it is empty
    assert [recorded_uses.read_uses(each) for each in (littered.folder, inner.parent)] == [{("used", "test_a")}] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("source", ["-", "unused.json"])
def test_prune_reads_a_report_in_the_encoding_of_any_shell(
    source: str, encoding: str, cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("Zoë.yaml", conversation("one", "1"))
    report = json.dumps(report_of_run(cassettes, "Zoë.yaml"), ensure_ascii=False).encode(encoding)
    Path("unused.json").write_bytes(report)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(report), encoding="cp1252"))
    found = cassettes.run("prune", "--orphans", source, "--dry-run", "--json").json["files"]
    assert [each["file"] for each in found] == ["Zoë.yaml"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        "3 passed",
        "",
        "[]",
        '{"unused": []}',
        json.dumps({"report": UNUSED_REPORT, "complete": True, "unused": [1]}),
    ],
)
def test_prune_refuses_a_file_that_is_no_report_of_a_run(content: str | None, littered: Cassettes) -> None:
    if content is not None:
        Path("run.log").write_text(content)
    before = files(littered)
    assert littered.run("prune", "--orphans", "run.log", "--yes").code == 2
    missing = littered.run("prune", "--orphans", "none.json", "--yes").err
    assert "--orphans none.json: cannot be read: No such file or directory. Run all tests" in missing
    assert files(littered) == before


@pytest.mark.parametrize(
    ("complete", "because", "told"),
    [(False, ["-k was given", "x"], "-k was given; x"), (None, [], "it does not say why"), ("true", ["y"], "y")],
)
def test_prune_refuses_the_report_of_a_partial_run_and_removes_nothing(
    complete: object, because: list[str], told: str, littered: Cassettes
) -> None:
    report_of_run(littered, "old/orphan.yaml", complete=complete, partial_because=because)
    before = files(littered)
    done = littered.run("prune", "--orphans", "unused.json", "--yes")
    assert done.code == 2
    assert f"the run was partial, so nothing is removed: {told}. Run all tests" in done.err
    assert files(littered) == before


def with_large_body(body: bytes = b"\0large" * 60_000) -> Interaction:
    one = conversation("hi", "x")
    return replace(one, response=replace(one.response, chunks=(RecordedChunk(body, 1),)))


def test_convert_copies_large_bodies(cassettes: Cassettes) -> None:
    cassettes.write("a/x.yaml", with_large_body())
    assert cassettes.run("convert", "a/x.yaml", "--to", "msgpack", "--output", "elsewhere").code == 0
    (moved,) = cassette_files.load_cassette(Path("elsewhere/a/x.msgpack")).interactions
    assert moved.response.body == b"\0large" * 60_000
    assert sorted(path.name for path in Path("elsewhere/a").iterdir()) == sorted(["@bodies", "x.msgpack"])


def test_scan_searches_large_bodies(cassettes: Cassettes) -> None:
    body = b"much " * 60_000 + b"sk-proj-" + b"a1B2c3D4e5F6g7H8i9J0 "
    upload = conversation("one", "1")
    cassettes.write("x.yaml", with_large_body(body), replace(upload, request=replace(upload.request, body=body)))
    assert [(leak["interaction"], leak["kind"]) for leak in cassettes.run("scan", "--json").json["found"]] == [
        (1, "secret in the answer"),
        (2, "secret in the request"),
    ]


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "was changed"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "does not have the"),
    "gone": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("asked", [True, False], ids=["request", "answer"])
@pytest.mark.parametrize(
    "command",
    [
        *("list", "stats", "scan", "accept --yes", "prune --dry-run"),
        *("convert x --to msgpack --output elsewhere", "convert x --to msgpack", "convert x --to yaml --replace"),
    ],
)
def test_every_command_names_a_damaged_large_body_and_what_to_type(
    cassettes: Cassettes, command: str, damage: str, asked: bool
) -> None:
    one = with_large_body()
    if asked:
        one = replace(one, request=replace(one.request, body=b"\0asked" * 60_000), response=RecordedResponse(200))
    name = "x.pending.yaml" if command.startswith("accept") else "x.yaml"
    cassettes.write(name, one)
    before = (cassettes.folder / name).read_bytes()
    (body,) = (cassettes.folder / "@bodies").glob("sha256-*")
    change, what = DAMAGES[damage]
    change(body)
    done = cassettes.run(*command.split())
    shown = body.relative_to(Path.cwd()).as_posix()
    assert f" {shown}: the body of a recording {what}" in done.out
    assert f"git checkout -- {quote_word(shown)})" in done.out
    assert (done.code != 0) == (not command.startswith("prune"))
    assert (cassettes.folder / name).read_bytes() == before
    assert not (cassettes.folder / "x.msgpack").exists()


def test_prune_removes_large_bodies_that_no_cassette_has_any_more(cassettes: Cassettes) -> None:
    cassettes.write("x.yaml", with_large_body())
    cassettes.write("y.yaml", with_large_body())
    cassettes.write("x.yaml", conversation("hi", "small"))
    assert "nothing to remove" in cassettes.run("prune", "--yes").out
    cassettes.write("y.yaml", conversation("hi", "small"))
    done = cassettes.run("prune", "--yes")
    assert "no cassette that stays has this body" in done.out
    assert not (cassettes.folder / "@bodies").exists()


@pytest.mark.parametrize("stays", ["in/small.yaml", "in/large.yaml"])
def test_prune_removes_the_large_bodies_of_what_it_removes(stays: str, cassettes: Cassettes) -> None:
    cassettes.write(stays, with_large_body() if "large" in stays else conversation("one", "1"))
    cassettes.write("in/unused.yaml", with_large_body())
    cassettes.write("in/unused.msgpack", with_large_body())
    report_of_run(cassettes, "in/unused.yaml")
    cassettes.run("prune", "--orphans", "unused.json", "--yes")
    assert (cassettes.folder / "in" / "@bodies").exists() == ("large" in stays)
    assert "nothing to remove" in cassettes.run("prune", "--yes").out


def test_prune_leaves_a_cassette_beside_one_of_its_name_that_cannot_be_read(cassettes: Cassettes) -> None:
    cassettes.write("x.msgpack", conversation("one", "1"))
    (cassettes.folder / "x.yaml").write_text("")
    assert "nothing to remove" in cassettes.run("prune", "--yes").out
    assert (cassettes.folder / "x.msgpack").exists()


def test_prune_leaves_the_large_bodies_beside_a_cassette_that_cannot_be_read(cassettes: Cassettes) -> None:
    path = cassettes.write("x.yaml", with_large_body())
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    done = cassettes.run("prune", "--yes")
    assert "git lfs pull" in done.out
    assert "nothing to remove" in done.out
    assert list((cassettes.folder / "@bodies").glob("sha256-*"))


LIMIT = r"may have [0-9,]+\. "


def test_a_cassette_that_convert_would_make_too_large_is_left_as_it_is(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("x.msgpack", conversation("a", "b"))
    monkeypatch.setattr(cassette_files, "MAX_BYTES", 100)
    done = cassettes.run("convert", "x.msgpack", "--to", "yaml", "--replace")
    assert done.code != 0
    assert re.search(LIMIT + "Nothing was changed. A cassette in msgpack has no limit", done.out)
    assert [path.name for path in cassettes.folder.iterdir()] == ["x.msgpack"]


def test_a_recording_that_makes_a_cassette_too_large_stays_pending_until_it_is_msgpack(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = cassettes.write("x.pending.yaml", conversation("a", "later"))
    cassettes.write("x.yaml", conversation("b", "stored"))
    os.utime(pending, (1, 1))  # so that both are kept
    monkeypatch.setattr(cassette_files, "MAX_BYTES", pending.stat().st_size + 10)
    done = cassettes.run("accept", "x")
    assert done.code != 0
    typed = re.search(
        LIMIT + "Nothing was changed.*?: aquila cassettes (convert .*); aquila cassettes (accept \\S+)\\. ",
        done.out,
    )
    assert typed is not None
    for command in typed.groups():
        assert cassettes.run(*shlex.split(command)).code == 0
    assert [path.name for path in cassettes.folder.glob("x*")] == ["x.msgpack"]
    assert len(cassettes.read("x.msgpack").interactions) == 2


def test_a_pending_file_of_the_other_format_is_accepted_into_the_existing_cassette(cassettes: Cassettes) -> None:
    cassettes.write("x.msgpack", conversation("a", "stored"))
    for suffix in ("yaml", "msgpack"):
        cassettes.write(f"x.pending.{suffix}", conversation(suffix, "new"))
        os.utime(cassettes.folder / f"x.pending.{suffix}", (1, 1))
    assert cassettes.run("accept", "--yes").code == 0
    assert [path.name for path in cassettes.folder.glob("x*")] == ["x.msgpack"]
    assert len(cassettes.read("x.msgpack").interactions) == 3


def test_a_merge_that_would_make_a_cassette_too_large_is_a_conflict(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = conversation("a", "b")
    base, ours, theirs = (
        cassettes.write(f"{name}.yaml", both, *more)
        for name, more in (("base", []), ("ours", [conversation("c", "d")]), ("theirs", [conversation("e", "f")]))
    )
    before = ours.read_bytes()
    monkeypatch.setattr(cassette_files, "MAX_BYTES", len(before) + 10)
    done = cassettes.run("merge", str(base), str(ours), str(theirs), "cassettes/chat.yaml")
    assert done.code != 0
    assert "not merged" in done.err
    assert "aquila cassettes convert cassettes/chat.yaml --to msgpack --replace" in done.err
    assert ours.read_bytes() == before
