"""The commands list, show, diff and stats."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aquila.cassettes.body_file import LARGE
from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.recording.storing import machine_clock
from tests.cli.conftest import Cassettes, conversation

AQUILA = str(Path(sys.executable).with_name("aquila"))


def set_clock(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(machine_clock, "machine_time", lambda: datetime.datetime.fromisoformat(moment))


def test_list_tells_count_size_and_age(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, "2026-11-30T13:00:00Z")
    path = cassettes.write("jobs/a.yaml", conversation("one", "1"), conversation("two", "2"))
    cassettes.write("b.msgpack", conversation("one", "1"))
    out = cassettes.run("list").out.splitlines()
    assert out[0].split() == ["CASSETTE", "REQUESTS", "SIZE", "RECORDED", "AGE", "ANSWERED", "BY"]
    assert [line.split()[0] for line in out[1:]] == ["b.msgpack", "jobs/a"]
    assert out[2].split()[-4:] == ["2026-11-24", "6", "d", "-"]
    found = {one["name"]: one for one in cassettes.run("list", "--json").json}
    assert found["jobs/a"] == {
        "name": "jobs/a",
        "path": str(path),
        "folder": str(cassettes.folder),
        "bytes": path.stat().st_size,
        "interactions": 2,
        "recorded": "2026-11-24T12:00:00Z",
        "oldest": "2026-11-24T12:00:00Z",
        "age_days": 6,
        "answered_by": [],
        "pending": False,
        "error": None,
    }


def test_list_show_and_stats_show_ages_and_which_model_answered(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, "2026-11-25T13:00:00Z")
    provider = replace(
        conversation("one", "1"), upstream="live", model="gpt-4.1-mini-2025-04-14", recorded="2025-11-25T12:00:00Z"
    )
    small = replace(conversation("two", "2"), upstream="local", model="smollm2")
    cassettes.write("a.yaml", provider, provider, small)
    monkeypatch.setenv("COLUMNS", "120")
    assert "  2026-11-24  365 d  live gpt-4.1-mini-2025-04-14, local smollm2" in cassettes.run("list").out
    about = cassettes.run("list", "--json").json[0]
    assert about["answered_by"] == ["live gpt-4.1-mini-2025-04-14", "local smollm2"]
    assert (about["recorded"], about["oldest"], about["age_days"]) == (small.recorded, provider.recorded, 365)
    lines = cassettes.run("show", "a").out.splitlines()
    assert "  ANSWERED BY  " in lines[2]
    assert ["live gpt-4.1-mini-2025-04-14" in line for line in lines[3:]] == [True, True, False]
    assert "  local smollm2  " in lines[5]
    assert ["2025-11-25" in line for line in lines[3:]] == [True, True, False]
    one = cassettes.run("show", "a", "-n", "3").out
    assert "recorded 2026-11-24T12:00:00Z (1 d ago), answered by local smollm2" in one
    about = cassettes.run("show", "a", "-n", "3", "--json").json
    assert (about["model"], about["upstream"], about["answered_by"]) == ("gpt-4.1-mini", "local", "local smollm2")
    assert (about["answering_model"], about["age_days"]) == ("smollm2", 1)
    sums = cassettes.run("stats", "--json").json
    assert sums["upstreams"] == {"live": 2, "local": 1}
    assert sums["answered_by"] == {"live gpt-4.1-mini-2025-04-14": 2, "local smollm2": 1}
    assert (sums["oldest"], sums["newest"], sums["age_days"]) == (provider.recorded, small.recorded, 365)
    shown = cassettes.run("stats").out
    assert "recorded               2025-11-25 to 2026-11-24" in shown
    assert "live gpt-4.1-mini-2025-04-14         2" in shown


VCRPY = """
interactions:
- request: {{method: POST, uri: https://api.openai.com/v1/x, body: '{{"model": "gpt-4o"}}', headers: {{}}}}
  response:
    status: {{code: 200, message: OK}}
    headers: {headers}
    body: {{string: '{body}'}}
version: 1
"""


@pytest.mark.parametrize(
    ("headers", "body", "day", "answered_by"),
    [
        ("{Date: ['Sun, 01 Nov 2026 23:30:00 -0100']}", '{"model": "gpt-4o-2024"}', "2026-11-02", ["gpt-4o-2024"]),
        ("{}", '{"id": "x", "created": 1793600000, "model": "m"}', "2026-11-02", ["m"]),
        ("{Date: [yesterday]}", "hello", None, []),
        ("{Date: ['Fri, 31 Dec 9999 23:59:59 -1200']}", "hello", None, []),
        ("{Date: ['Fri, 31 Dec 9999 23:59:59 -1200']}", '{"created": 1793600000, "model": "m"}', "2026-11-02", ["m"]),
        ("{Date: ['Mon, 01 Jan 2024 00:00:00 +99999999999999']}", "hello", None, []),
    ],
)
def test_age_and_model_of_a_cassette_of_vcrpy_are_read_from_its_answers(
    headers: str, body: str, day: str | None, answered_by: list[str], cassettes: Cassettes
) -> None:
    (cassettes.folder / "theirs.yaml").write_text(VCRPY.format(headers=headers, body=body))
    assert cassettes.run("convert", "theirs", "--to", "msgpack").code == 0
    for about in cassettes.run("list", "--json").json:
        assert about["recorded"] == about["oldest"]
        assert (about["recorded"] or "")[:10] == (day or "")
        assert about["answered_by"] == answered_by
    assert (day or "-") in cassettes.run("show", "theirs.yaml").out.splitlines()[-1]
    assert f"recorded               {f'{day} to {day}' if day else 'unknown'}\n" in cassettes.run("stats").out
    assert cassettes.run("stats", "--json").json["answered_by"] == {(answered_by or ["(unknown)"])[0]: 2}


def test_list_says_when_there_is_nothing(cassettes: Cassettes) -> None:
    done = cassettes.run("list")
    assert done.code == 0
    assert done.out.startswith(f"no cassettes in {cassettes.folder} yet\n\nTo record one, ")


def test_files_of_macos_beside_a_cassette_are_ignored(cassettes: Cassettes) -> None:
    for name in ("a.yaml", "a.pending.yaml"):
        path = cassettes.write(name, conversation("one", name))
        path.with_name(f"._{name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")  # AppleDouble
    listed = cassettes.run("list", "--json")
    assert (listed.code, [one["name"] for one in listed.json]) == (0, ["a"])
    assert cassettes.run("scan").code == 0
    waiting = cassettes.run("review", "--list", "--json")
    assert (waiting.code, {one["cassette"] for one in waiting.json}) == (1, {"a"})


def test_a_cassette_that_is_named_in_two_ways_counts_once(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    for words in (["list"], ["stats"]):
        found = cassettes.run(*words, "a", "cassettes/a.yaml", "./cassettes/../cassettes/a.yaml", "--json").json
        assert (found["interactions"] if words == ["stats"] else len(found)) == 1
    assert cassettes.run("convert", "a", "cassettes/a.yaml", "--to", "msgpack", "--replace").code == 0


def test_list_points_at_pending_recordings(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    cassettes.write("a.pending.yaml", conversation("one", "2"))
    out = cassettes.run("list").out
    assert out.splitlines()[1].endswith("  pending")
    assert out.splitlines()[2:] == ["", "1 pending recording: run aquila cassettes accept to store it."]


def test_show_tells_each_request_and_its_answer_at_a_glance(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    cassettes.write("a.yaml", conversation("one", "first answer"), conversation("two", "second answer", chunks=4))
    lines = cassettes.run("show", "a").out.splitlines()
    assert lines[0].endswith("a.yaml: 2 interactions")
    assert lines[3].split()[:5] == ["1", "one", "POST", "/v1/chat/completions", "gpt-4.1-mini"]
    assert lines[3].split()[5:] == ["-", "2026-11-24", "200", "7", "first", "answer"]
    assert lines[4].endswith("second answer")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}]}, "Hi"),
        (
            {"messages": [{"content": [{"type": "text", "text": "What"}, {"type": "image"}, {"text": "now?"}]}]},
            "What now?",
        ),
        ({"input": "Hi"}, "Hi"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi\nyou"}]}]}, "Hi you"),
        ({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, "Hi"),
        ({"prompt": "Hi"}, "Hi"),
        ({"messages": 1, "input": [[["deep"]]], "prompt": {}}, "deep"),
        ({"query": "x"}, "POST /v1/chat/completions"),
        ([1], "POST /v1/chat/completions"),
    ],
)
def test_show_finds_the_prompt_in_each_protocol(body: object, asked: str, cassettes: Cassettes) -> None:
    row = conversation("", "ho")
    cassettes.write("a.yaml", replace(row, request=replace(row.request, body=json.dumps(body).encode())))
    assert cassettes.run("show", "a").out.splitlines()[3].startswith(f"1  {asked}")


def test_show_one_in_full(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "first"), conversation("two\nlines", "second", chunks=3))
    out = cassettes.run("show", "a", "-n", "2").out
    assert "#2  POST https://api.openai.com/v1/chat/completions, recorded 2026-11-24T12:00:00Z" in out
    assert "two" in out
    assert "lines" in out
    assert "after 39 ms, 4 chunks" in out
    assert out.rstrip().endswith("second")
    about = cassettes.run("show", "a", "-n", "2", "--json").json
    assert about["request"]["body"].startswith('{"model"')
    assert [chunk["at"] for chunk in about["response"]["chunks"]] == [40, 41, 42, 43]


@pytest.mark.parametrize("number", ["0", "2", "-1"])
def test_show_refuses_a_number_that_is_not_there(number: str, cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "first"))
    done = cassettes.run("show", "a", f"--number={number}")
    assert done.code == 2
    assert f"has 1 interaction, and no number {number}" in done.err


def test_show_hides_the_secrets_of_an_old_file(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "c0rrect-h0rse-battery")
    cassettes.write("a.yaml", conversation("my token is c0rrect-h0rse-battery", "c0rrect-h0rse-battery it is"))
    for arguments in (["a"], ["a", "-n", "1"], ["a", "-n", "1", "--json"]):
        out = cassettes.run("show", *arguments).out
        assert "[redacted]" in out
        assert "h0rse" not in out


def test_show_as_yaml_is_what_a_yaml_file_would_hold(cassettes: Cassettes) -> None:
    path = cassettes.write("a.msgpack", conversation("one", "Größe", chunks=5))
    done = subprocess.run([AQUILA, "cassettes", "show", "--yaml", str(path)], capture_output=True, check=True)
    assert done.stdout == YamlCodec().dumps(cassettes.read("a.msgpack"))


def test_show_as_yaml_names_large_bodies_that_are_missing_as_in_a_copy_of_git(
    cassettes: Cassettes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "c0rrect-h0rse-battery")
    one, two = conversation("x" * LARGE, "c0rrect-h0rse-battery"), conversation("two", "y" * LARGE)
    secret = replace(two.request, url="https://api.openai.com/v1/x?user=c0rrect-h0rse-battery")
    path = cassettes.write("a.msgpack", one, replace(two, request=secret))
    shown = cassettes.run("show", "--yaml", str(path))
    assert cassettes.run("show", "--yaml", shutil.copy(path, tmp_path)) == shown
    assert (shown.code, shown.out.count("body_file: sha256-"), shown.out.count("h0rse")) == (0, 2, 0)


@pytest.mark.parametrize("words", [("HEAD~1", "a"), ("main...HEAD",), ("--staged",)])
def test_a_diff_says_that_git_is_not_installed(
    words: tuple[str, ...], cassettes: Cassettes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = cassettes.run("diff", *words)
    assert (done.code, "git is not installed here" in done.err) == (2, True)


def test_a_diff_without_git_suggests_the_nearest_cassette(
    cassettes: Cassettes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("weather.yaml", conversation("one", "1"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = cassettes.run("diff", "wether", "weather")
    assert done.code == 2
    assert done.err.strip().endswith("did you mean 'weather'? If it is a revision: git is not installed here")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.slow
def test_git_shows_msgpack_cassettes_as_text(cassettes: Cassettes) -> None:
    project = cassettes.folder.parent
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        done = subprocess.run(
            ["git", *who, *words], cwd=project, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    large = conversation("three", "three" * LARGE)
    cassettes.write("a.msgpack", conversation("one", "the first answer"), conversation("two", "stays"), large)
    (project / ".gitattributes").write_text("cassettes/**/*.msgpack diff=aquila\ncassettes/*.msgpack diff=aquila\n")
    git("init", "-q")
    git("config", "diff.aquila.textconv", f"{AQUILA} cassettes show --yaml")
    git("add", ".")
    git("commit", "-qm", "recorded")
    cassettes.write("a.msgpack", conversation("one", "the second answer"), conversation("two", "stays"), large)
    changed = [line for line in git("diff").splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    assert any(line.startswith("-") and "the first answer" in line for line in changed)
    assert any(line.startswith("+") and "the second answer" in line for line in changed)
    assert not any("stays" in line for line in changed)


def test_diff_of_the_same_is_nothing(cassettes: Cassettes) -> None:
    rows = (conversation("one", "1"), conversation("one", "1 again"), conversation("two", "2", chunks=3))
    cassettes.write("a.yaml", *rows)
    cassettes.write("b.msgpack", *rows)
    done = cassettes.run("diff", "a", "b")
    assert (done.code, done.out) == (
        0,
        "b.msgpack (was a): the same recordings\n\nno cassette differs between a and b\n",
    )
    (cassettes.folder / "b.msgpack").write_bytes(b"damaged")
    done = cassettes.run("diff", "a", "b")
    assert done.code == 2
    assert done.out.endswith("\nno cassette differs between a and b, and 1 cassette could not be compared\n")


def test_diff_shows_changed_requests_changed_answers_and_unmatched_recordings(cassettes: Cassettes) -> None:
    long = "Summarise this text about the eagles of the northern mountains and their young in three sentences"
    cassettes.write(
        "a.yaml", conversation(long, "x"), conversation("same", "the old answer"), conversation("stays", "1")
    )
    cassettes.write(
        "b.yaml",
        conversation("stays", "1"),
        conversation(long.replace("three", "two"), "x"),
        conversation("same", "the new answer"),
        conversation("Translate 'good morning' into French, Italian, and Romansh.", "new", model="another-one"),
    )
    done = cassettes.run("diff", "a", "b")
    assert done.code == 1
    assert "b (was a): 1 new recording, 1 changed prompt, 1 changed answer\n" in done.out
    assert "  changed prompt #2  POST api.openai.com/v1/chat/completions\n" in done.out
    assert "in [-three-]{+two+} sentences" in done.out
    assert "the [-old-]{+new+} answer" in done.out
    (found,) = cassettes.run("diff", "a", "b", "--json").json
    assert [(one["kind"], one["before"], one["after"]) for one in found["changes"]] == [
        ("prompt", 1, 2),
        ("answer", 2, 3),
        ("new", None, 4),
    ]


def test_a_long_answer_is_shown_and_compared_as_a_whole(cassettes: Cassettes) -> None:
    lines = [f"line {number} of a long answer" for number in range(300)]
    for name, end in (("a", "the old end"), ("b", "the new end")):
        cassettes.write(f"{name}.yaml", conversation("one", "\n".join([*lines, end]), chunks=3))
    shown = cassettes.run("show", "a", "-n", "1").out
    assert all(f"  {line}\n" in shown for line in [*lines, "the old end"])
    compared = cassettes.run("diff", "a", "b").out
    assert "      the [-old-]{+new+} end\n" in compared


def test_diff_compares_by_the_rules_of_the_project(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1", model="gpt-4.1"))
    cassettes.write("b.yaml", conversation("one", "1", model="gpt-5"))
    assert cassettes.run("diff", "a", "b").code == 1
    (cassettes.folder.parent / "pytest.ini").write_text("[pytest]\naquila_ignore =\n    model\n")
    assert cassettes.run("diff", "a", "b").code == 0


def test_stats_add_up(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"), conversation("two", "2", model="gpt-5", chunks=2))
    cassettes.write("b.yaml", conversation("one", "1"))
    found = cassettes.run("stats", "--json").json
    assert (found["cassettes"], found["interactions"], found["streams"], found["tokens"]) == (2, 3, 1, 14)
    assert found["models"] == {"gpt-4.1-mini": 2, "gpt-5": 1}
    assert found["statuses"] == {"200": 3}
    assert found["bytes"] == sum(path.stat().st_size for path in cassettes.folder.glob("*.yaml"))
    assert "gpt-4.1-mini" in cassettes.run("stats").out


def test_diff_tells_that_a_request_went_to_another_host(cassettes: Cassettes) -> None:
    row = conversation("one", "1")
    moved = replace(row, request=replace(row.request, url=row.request.url.replace("://", "://gateway.")))
    cassettes.write("a.yaml", row, row)
    cassettes.write("b.yaml", row, moved)
    (found,) = cassettes.run("diff", "a", "b", "--json").json
    (change,) = found["changes"]
    assert (change["kind"], change["before"], change["after"]) == ("prompt", 2, 2)
    assert [each["path"] for each in change["fields"]] == ["host"]
    (cassettes.folder.parent / "pytest.ini").write_text("[pytest]\naquila_match_on = -origin\n")
    assert cassettes.run("diff", "a", "b").code == 0


def test_show_prints_values_that_comparisons_normalize(
    cassettes: Cassettes,
) -> None:
    one, other = (f"job {number}7e4a1c-8a38-4b0f-9d51-0123456789ab" for number in ("0b", "1b"))
    cassettes.write("a.yaml", conversation(one, "1"))
    cassettes.write("b.yaml", conversation(other, "1"))
    assert cassettes.run("diff", "a", "b").code == 1
    (cassettes.folder.parent / "pytest.ini").write_text("[pytest]\naquila_normalize = uuid\n")
    assert one in cassettes.run("show", "a", "-n", "1").out
    assert one[:12] in cassettes.run("show", "a").out
    assert cassettes.run("diff", "a", "b").code == 0
