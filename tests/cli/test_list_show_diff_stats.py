"""list, show, diff, stats: looking at cassettes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aquila.cassettes.codecs.yaml.codec import YamlCodec
from tests.cli.conftest import Cassettes, conversation

AQUILA = str(Path(sys.executable).with_name("aquila"))


def test_list_tells_count_size_and_age(cassettes: Cassettes) -> None:
    path = cassettes.write("jobs/a.yaml", conversation("one", "1"), conversation("two", "2"))
    cassettes.write("b.msgpack", conversation("one", "1"))
    out = cassettes.run("list").out.splitlines()
    assert out[0].split() == ["CASSETTE", "INTERACTIONS", "SIZE", "RECORDED", "ANSWERED", "BY", "NOTE"]
    assert [line.split()[0] for line in out[1:]] == ["b.msgpack", "jobs/a"]
    found = {one["name"]: one for one in cassettes.run("list", "--json").json}
    assert found["jobs/a"] == {
        "name": "jobs/a",
        "path": str(path),
        "bytes": path.stat().st_size,
        "interactions": 2,
        "recorded": "2026-11-24T12:00:00Z",
        "answered_by": [],
        "pending": False,
        "error": None,
    }


def test_list_and_show_tell_an_answer_of_the_local_model_from_the_providers(cassettes: Cassettes) -> None:
    provider = replace(conversation("one", "1"), upstream="live", model="gpt-4.1-mini-2025-04-14")
    small = replace(conversation("two", "2"), upstream="local", model="smollm2")
    cassettes.write("a.yaml", provider, provider, small)
    assert "live gpt-4.1-mini-2025-04-14, local smollm2" in cassettes.run("list").out
    assert cassettes.run("list", "--json").json[0]["answered_by"] == ["live gpt-4.1-mini-2025-04-14", "local smollm2"]
    lines = cassettes.run("show", "a").out.splitlines()
    assert "  ANSWERED BY  " in lines[2]
    assert ["live gpt-4.1-mini-2025-04-14" in line for line in lines[3:]] == [True, True, False]
    assert "  local smollm2  " in lines[5]
    assert "recorded 2026-11-24T12:00:00Z, answered by local smollm2" in cassettes.run("show", "a", "-n", "3").out
    about = cassettes.run("show", "a", "-n", "3", "--json").json
    assert (about["model"], about["upstream"], about["answered_by"]) == ("gpt-4.1-mini", "local", "local smollm2")


def test_list_says_when_there_is_nothing(cassettes: Cassettes) -> None:
    done = cassettes.run("list")
    assert (done.code, done.out) == (0, f"no cassettes in {cassettes.folder}\n")


def test_list_goes_on_behind_a_damaged_cassette_and_fails(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    (cassettes.folder / "b.yaml").write_text("aquila: 1\ninteractions: {\n")
    cassettes.write("c.yaml", conversation("one", "1"))
    done = cassettes.run("list")
    assert done.code == 2
    assert "unreadable: " in done.out
    assert "b.yaml, line" in done.out
    assert done.out.splitlines()[-1].startswith("c ")


def test_list_points_at_pending_recordings(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    cassettes.write("a.pending.yaml", conversation("one", "2"))
    out = cassettes.run("list").out
    assert "a pending recording waits" in out
    assert "1 pending recording: run aquila cassettes accept to store it" in out


def test_show_tells_each_request_and_its_answer_at_a_glance(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "first answer"), conversation("two", "second answer", chunks=4))
    lines = cassettes.run("show", "a").out.splitlines()
    assert lines[0].endswith("a.yaml: 2 interactions")
    assert lines[3].split()[:6] == ["1", "POST", "/v1/chat/completions", "gpt-4.1-mini", "200", "1"]
    assert lines[3].endswith("first answer")
    assert lines[4].split()[5] == "5"
    assert lines[4].endswith("second answer")


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


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_shows_msgpack_cassettes_as_text(cassettes: Cassettes) -> None:
    project = cassettes.folder.parent
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        done = subprocess.run(
            ["git", *who, *words], cwd=project, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    cassettes.write("a.msgpack", conversation("one", "the first answer"), conversation("two", "stays"))
    (project / ".gitattributes").write_text("cassettes/**/*.msgpack diff=aquila\ncassettes/*.msgpack diff=aquila\n")
    git("init", "-q")
    git("config", "diff.aquila.textconv", f"{AQUILA} cassettes show --yaml")
    git("add", ".")
    git("commit", "-qm", "recorded")
    cassettes.write("a.msgpack", conversation("one", "the second answer"), conversation("two", "stays"))
    changed = [line for line in git("diff").splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    assert any(line.startswith("-") and "the first answer" in line for line in changed)
    assert any(line.startswith("+") and "the second answer" in line for line in changed)
    assert not any("stays" in line for line in changed)


def test_diff_of_the_same_is_nothing(cassettes: Cassettes) -> None:
    rows = (conversation("one", "1"), conversation("one", "1 again"), conversation("two", "2", chunks=3))
    cassettes.write("a.yaml", *rows)
    cassettes.write("b.msgpack", *rows)
    done = cassettes.run("diff", "a", "b")
    assert done.code == 0
    assert done.out.startswith("3 interactions the same, 0 with a changed request")


def test_diff_tells_changed_requests_changed_answers_and_what_one_has_alone(cassettes: Cassettes) -> None:
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
    assert "request #1 of A is #2 of B, changed:" in done.out
    assert "messages[0].content: " in done.out
    assert "the answer to #2 of A differs from that to #3 of B:" in done.out
    assert "-the old answer" in done.out
    assert "+the new answer" in done.out
    found = cassettes.run("diff", "a", "b", "--json").json
    assert found["same"] == 1
    assert [(one["a"], one["b"], [d["path"] for d in one["differences"]]) for one in found["requests"]] == [
        (1, 2, ["messages[0].content"])
    ]
    assert found["answers"] == [{"a": 2, "b": 3}]
    assert (found["only_a"], found["only_b"]) == ([], [4])


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
    found = cassettes.run("diff", "a", "b", "--json").json
    assert (found["same"], found["only_a"], found["only_b"]) == (1, [], [])
    assert [(one["a"], one["b"], [d["path"] for d in one["differences"]]) for one in found["requests"]] == [
        (2, 2, ["host"])
    ]
    (cassettes.folder.parent / "pytest.ini").write_text("[pytest]\naquila_match_on = -origin\n")
    assert cassettes.run("diff", "a", "b").code == 0
