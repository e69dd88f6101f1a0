"""``aquila cassettes review``: in a terminal, with real keys; and without one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.recorded_uses import update_uses
from aquila.cli.reviewing import cassettes_review, review_keys, review_loop
from aquila.review.kept_decisions import hold_reviews
from aquila.review.reviewing import Outcome
from tests.cli.conftest import Cassettes, conversation

AQUILA = str(Path(sys.executable).with_name("aquila"))
PATIENCE = 20.0
SYSTEM = "You are the assistant of a library, answer in one short sentence and never make up a book. " * 3


def ask(question: str, answer: str, manner: str = "Be kind.", **more: object) -> Interaction:
    """A conversation with a long prompt."""
    return conversation(f"{SYSTEM}\n{question}\n{manner}", answer, **more)  # type: ignore[arg-type]


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *words: str, columns: int = 80, environment: dict[str, str] | None = None) -> None:
        self.output = ""
        self._read_to = 0
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:  # pragma: no cover - another process
            size = struct.pack("HHHH", 50, columns, 0, 0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            # Not `execv`: readline may have set COLUMNS in the environment without the knowledge of Python.
            known = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
            given = {"TERM": "xterm-256color", "NO_COLOR": "1"} | (environment or {})
            os.execve(AQUILA, [AQUILA, "cassettes", "review", *words], known | given)

    def wait_for(self, text: str) -> str:
        """Read until a text comes; return what came up to it, since the last call."""
        while text not in self.output[self._read_to :]:
            if not self._read():
                raise AssertionError(f"{text!r} did not come: {self.output[self._read_to :]}")
        end = self.output.index(text, self._read_to) + len(text)
        part, self._read_to = self.output[self._read_to : end], end
        return part

    def _read(self) -> bool:
        if not select.select([self._descriptor], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the terminal is closed
            return False
        self.output += re.sub(r"\x1b\[[0-9;]*m", "", data.decode()).replace("\r\n", "\n")
        return bool(data)

    def press(self, keys: str, then: str = "help\n") -> str:
        """Press keys, one after another, and wait for a text after each."""
        seen = ""
        for key in keys:
            os.write(self._descriptor, key.encode())
            seen += self.wait_for(then)
        return seen

    def send(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    @property
    def mode(self) -> list[object]:
        """The mode of the terminal."""
        return termios.tcgetattr(self._descriptor)

    def end(self) -> int:
        """Read to the end, and return the exit code; what a signal ended has a negative one."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def terminal(cassettes: Cassettes) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals in the project. What still runs in one is killed in the end."""
    opened: list[Terminal] = []

    def open_terminal(*words: str, **more: object) -> Terminal:
        opened.append(Terminal(*words, **more))  # type: ignore[arg-type]
        return opened[-1]

    yield open_terminal
    for each in opened:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(each.pid, signal.SIGKILL)
            os.waitpid(each.pid, 0)


@pytest.fixture
def waiting(cassettes: Cassettes) -> Cassettes:
    """A project in which two prompts have the same edit, one answer is new, and one recording would vanish."""
    cassettes.write("a.yaml", ask("When?", "At nine."), ask("Emma?", "Yes."), conversation("old", "gone"))
    cassettes.write(
        "a.pending.yaml", ask("When?", "At half past nine.", "Be brief."), ask("Emma?", "Two.", "Be brief.")
    )
    cassettes.write("b.yaml", conversation("name it", "A"))
    cassettes.write("b.pending.yaml", conversation("name it", "B"), conversation("and \x1b]0;owned\x07 this", "C"))
    return cassettes


def answers(cassettes: Cassettes, name: str) -> list[str]:
    """The texts of the answers of a cassette."""
    return [
        json.loads(one.response.body)["choices"][0]["message"]["content"] for one in cassettes.read(name).interactions
    ]


def test_keys_accept_reject_skip_undo_and_write(waiting: Cassettes, terminal: Callable[..., Terminal]) -> None:
    place = terminal()
    first = place.wait_for("help\n")
    assert "1 of 5 · changed prompt" in first
    assert "a  #1" in first
    assert "Be [-kind-]{+brief+}" in first
    assert "At {+half past +}nine." in first
    assert "group of 2 with the same change of the prompt" in first
    assert "characters are the same" in first
    assert "would vanish" in place.press("A")
    second = place.press("r")
    assert "rejected a #3; u undoes" in second
    assert "[-A-]{+B+}" in second
    assert "undone: a #3" in place.press("u")
    place.press("r")
    last = place.press("a")
    assert r"{+user: and \x1b]0;owned\x07 this+}" in last
    assert "\x1b]" not in place.output
    assert "\x07" not in place.output
    place.press("s", "w write")
    assert answers(waiting, "a.yaml") == ["At nine.", "Yes.", "gone"]
    place.send("w")
    assert place.end() == 0
    assert "a: 2 accepted, 1 rejected\nb: 1 accepted, 1 still waits\n" in place.output
    assert answers(waiting, "a.yaml") == ["At half past nine.", "Two.", "gone"]
    assert answers(waiting, "b.yaml") == ["B"]
    assert not (waiting.folder / "a.pending.yaml").exists()
    assert answers(waiting, "b.pending.yaml") == ["B", "C"]


def test_the_suggested_commands_work_for_a_folder_that_was_named(
    waiting: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = waiting.folder.rename(waiting.folder.with_name("kept elsewhere"))
    before = {path.name: path.read_bytes() for path in elsewhere.glob("*.yaml")}
    monkeypatch.setattr(review_keys, "can_read_keys", lambda: True)
    monkeypatch.setattr(review_loop.Loop, "run", lambda loop: None)
    assert "continue with: aquila cassettes review --dir 'kept elsewhere'\n" in (
        waiting.run("review", "--dir", "kept elsewhere").out
    )

    def accept_first(loop: review_loop.Loop) -> list[Outcome]:
        loop._review.decide(loop._review.items[:1], "accept")
        return loop._review.apply()

    monkeypatch.setattr(review_loop.Loop, "run", accept_first)
    said = waiting.run("review", "--dir", "kept elsewhere").out
    assert "still wait: aquila cassettes review --dir 'kept elsewhere'\n" in said
    typed = re.findall(r"to take it back: aquila cassettes (.*)", said)
    assert waiting.run(*shlex.split(typed[0])).code == 0
    assert {path.name: path.read_bytes() for path in elsewhere.glob("*.yaml")} == before
    listed = re.findall(r"run aquila cassettes (.*) to store them", waiting.run("list", "--dir", "kept elsewhere").out)
    assert waiting.run(*shlex.split(listed[0]), "--dry-run").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["q", "\x03", "\x04", signal.SIGTERM, signal.SIGKILL])
def test_a_review_that_is_left_in_any_way_can_be_continued(
    how: str | signal.Signals, waiting: Cassettes, terminal: Callable[..., Terminal]
) -> None:
    place = terminal()
    before = place.mode
    place.wait_for("help\n")
    assert place.mode != before
    place.press("A")
    if isinstance(how, str):
        place.send(how)
    else:
        os.kill(place.pid, how)
    if how != signal.SIGKILL:
        place.wait_for("Nothing was written; continue with: aquila cassettes review")
        assert place.mode == before
        assert place.end() == 0
    else:
        place.end()
    assert answers(waiting, "a.yaml") == ["At nine.", "Yes.", "gone"]
    again = terminal()
    assert "3 of 5 · would vanish" in again.wait_for("help\n")
    again.send("w")
    assert again.end() == 0
    assert answers(waiting, "a.yaml") == ["At half past nine.", "Two.", "gone"]


def test_ctrl_c_while_cassettes_are_written_says_what_was_written(
    waiting: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cassette_files.change_held_cassette
    writes: list[object] = []

    def change(path: Path, *arguments: Any, **named: Any) -> Cassette:
        writes.append(path)
        if len(writes) == 4:  # between the files of the second cassette
            raise KeyboardInterrupt
        return whole(path, *arguments, **named)

    def decide_and_write(loop: review_loop.Loop) -> list[Outcome]:
        loop._review.decide(loop._review.items, "accept")
        return loop._review.apply()

    monkeypatch.setattr(review_keys, "can_read_keys", lambda: True)
    monkeypatch.setattr(review_loop.Loop, "run", decide_and_write)
    with monkeypatch.context() as inside:
        inside.setattr(cassette_files, "change_held_cassette", change)
        out = waiting.run("review").out
    assert "a: 3 accepted\nstopped while cassettes were written; continue with: aquila cassettes review" in out
    assert "Nothing was written" not in out
    waiting.run("review")
    assert answers(waiting, "b.yaml") == ["B", "C"]
    assert list(waiting.folder.glob("*.pending.yaml")) == []


@pytest.mark.slow
def test_the_test_opens_in_the_editor_at_its_line(
    waiting: Cassettes, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text("def test_other(): ...\n\n\ndef test_a(): ...\n")
    update_uses(waiting.folder, {"test_it.py::test_a": ["a"]}, whole=())
    editor = tmp_path / "vi"
    editor.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/opened\nstty -a | grep -o " icanon" >> {tmp_path}/opened\n')
    editor.chmod(0o755)
    place = terminal(environment={"VISUAL": str(editor)})
    assert "test test_it.py::test_a" in place.wait_for("help\n")
    place.press("o")
    assert (tmp_path / "opened").read_text() == f"+4 {tmp_path}/test_it.py\n icanon\n"
    place.send("q")
    assert place.end() == 0


@pytest.mark.slow
def test_details_expanding_help_and_unknown_keys(waiting: Cassettes, terminal: Callable[..., Terminal]) -> None:
    place = terminal("b", columns=40)
    place.wait_for("help\n")
    assert '"total_tokens": 7' in place.press("d")
    place.press("e")
    assert "reject all with the same" in place.press("?", "this help")
    assert "z is no key here" in place.press("z", "lists them")
    place.send("\x1b[A")  # an arrow
    assert "none of" not in place.press("a")
    assert max(map(len, place.output.splitlines())) <= 40
    place.send("q")
    assert place.end() == 0


@pytest.mark.slow
def test_a_pending_file_that_changes_meanwhile_is_noticed(
    waiting: Cassettes, terminal: Callable[..., Terminal]
) -> None:
    place = terminal("b")
    place.wait_for("help\n")
    waiting.write("b.pending.yaml", conversation("name it", "Z"))
    os.utime(waiting.folder / "b.pending.yaml", (time.time() + 5, time.time() + 5))
    place.send("a")
    assert "b has changed on disk" in place.wait_for("help\n")
    assert "{+Z+}" in place.output
    place.send("q")
    assert place.end() == 0


@pytest.mark.slow
def test_the_second_review_says_who_holds_the_first(waiting: Cassettes, terminal: Callable[..., Terminal]) -> None:
    place = terminal()
    place.wait_for("help\n")
    done = waiting.run("review", "--accept", "a")
    assert done.code == 2
    assert f"process {place.pid} on" in done.err


def test_without_a_terminal_the_questions_are_listed(waiting: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    done = waiting.run("review")
    assert done.code == 1
    assert re.search(r"^a +1  [0-9a-f]{8}  prompt +-kind \+brief$", done.out, re.MULTILINE)
    assert "stdin is not a terminal, so nothing was asked" in done.err
    assert "aquila cassettes review --accept a:1" in done.err
    with monkeypatch.context() as patched:
        patched.setattr(cassettes_review, "sys", SimpleNamespace(platform="win32"))
        assert "Windows (aquila cassettes review --web asks in the browser)" in waiting.run("review").err
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
        assert "stdout is not a terminal, so nothing was asked" in waiting.run("review").err
    found = waiting.run("review", "--list", "--json").json
    assert [(one["cassette"], one["number"], one["kind"]) for one in found] == [
        ("a", 1, "prompt"),
        ("a", 2, "prompt"),
        ("a", 3, "gone"),
        ("b", 1, "answer"),
        ("b", 2, "new"),
    ]
    assert found[0]["group"] == found[1]["group"]
    assert ["added", "half past "] in found[0]["answer"]


def test_the_verb_agrees_with_the_number_of_recordings_that_wait(waiting: Cassettes) -> None:
    assert "a: 1 accepted, 2 still wait\n" in waiting.run("review", "--accept", "a:1").out


def test_scripts_decide_by_name_number_and_id_and_nothing_vanishes_unasked(waiting: Cassettes) -> None:
    done = waiting.run("review", "--accept", "a", "--reject", "b:2")
    assert done.code == 0
    assert "a: 2 accepted, 1 still waits\nb: 1 rejected, 1 still waits\n" in done.out
    assert "1 recording would be removed only with --kind gone" in done.out
    assert answers(waiting, "a.yaml") == ["At half past nine.", "Two.", "gone"]
    identifier = waiting.run("review", "b", "--list", "--json").json[0]["id"]
    assert waiting.run("review", "--accept", f"b:{identifier[:8]}").code == 0
    assert waiting.run("review", "--accept", "a", "--kind", "gone").code == 0
    assert (answers(waiting, "a.yaml"), answers(waiting, "b.yaml")) == (["At half past nine.", "Two."], ["B"])
    assert [path.name for path in waiting.folder.glob("*.pending.yaml")] == []
    assert waiting.run("review", "--list").code == 0


@pytest.mark.parametrize("choice", ["b", "a:1"])
def test_recordings_that_would_be_removed_are_mentioned_only_for_whole_cassettes(
    waiting: Cassettes, choice: str
) -> None:
    done = waiting.run("review", "--accept", choice)
    assert done.code == 0
    assert "--kind gone" not in done.out


def test_the_last_review_can_be_undone(waiting: Cassettes) -> None:
    before = {path.name: path.read_bytes() for path in waiting.folder.glob("*.yaml")}
    waiting.run("review", "--accept", "b", "--reject", "a:1", "--accept", "a:2")
    assert waiting.run("review", "--undo").code == 0
    assert {path.name: path.read_bytes() for path in waiting.folder.glob("*.yaml")} == before
    assert waiting.run("review", "--undo").code == 2


def test_a_script_is_refused_while_a_review_is_open(waiting: Cassettes) -> None:
    waiting.run("review", "--accept", "b:2")
    assert len(waiting.run("review", "--list", "--json").json) == 4
    with hold_reviews([waiting.folder]):
        assert waiting.run("review", "--accept", "a").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--accept", "c"), "nothing waits for 'c'"),
        (("--accept", "a:9"), "a: 9 is none of its questions; they are: 1 ("),
        (("--accept", "a:1", "--reject", "a"), "a:1 is both accepted and rejected"),
        (("c",), "no pending recording of 'c'"),
        (("--kind", "other"), "invalid choice"),
    ],
)
def test_a_wrong_argument_changes_nothing(words: tuple[str, ...], message: str, waiting: Cassettes) -> None:
    before = {path.name: path.read_bytes() for path in waiting.folder.glob("*.yaml")}
    done = waiting.run("review", *words)
    assert done.code == 2
    assert message in done.err
    assert {path.name: path.read_bytes() for path in waiting.folder.glob("*.yaml")} == before


def test_a_name_without_pending_recordings_is_refused_even_if_nothing_is_pending(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    done = cassettes.run("review", "--list", "a")
    assert done.code == 2
    assert re.search(r"no pending recording of 'a' in .*; nothing is pending", done.err)
    assert cassettes.run("review", "--list").code == 0


def test_pending_files_without_a_change_are_removed_and_unreadable_ones_are_named(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("same.yaml", conversation("one", "1"))
    cassettes.write("same.pending.yaml", conversation("one", "1"))
    assert (
        "same: the cassette has what waited already; removed what waited"
        in cassettes.run("review", "--accept", "same").out
    )
    assert not (cassettes.folder / "same.pending.yaml").exists()
    (cassettes.folder / "bad.pending.yaml").write_text("aquila: 1\ninteractions: {\n")
    done = cassettes.run("review", "--accept", "bad")
    assert done.code == 2
    assert "bad cannot be reviewed: " in done.err
    monkeypatch.setattr(review_keys, "can_read_keys", lambda: True)  # in a terminal
    asked, listed = cassettes.run("review"), cassettes.run("review", "--list")
    assert (asked.code, listed.code) == (2, 2)
    assert "nothing waits for a review; to record for one" in asked.out
    assert listed.out.endswith("\nnothing waits for a review\n")
    assert (cassettes.folder / "bad.pending.yaml").exists()


def test_an_unreadable_pending_file_is_a_row_of_the_json(cassettes: Cassettes) -> None:
    (cassettes.folder / "bad.pending.yaml").write_text("aquila: 1\ninteractions: {\n")
    done = cassettes.run("review", "--list", "--json")
    assert done.code == 2
    assert [(one["cassette"], one["kind"]) for one in done.json] == [("bad", "unreadable")]
    assert "bad.pending.yaml" in done.json[0]["problem"]


def test_options_that_contradict_each_other_are_refused(waiting: Cassettes) -> None:
    for words in (["--accept", "a", "--list"], ["--reject", "a", "--web"], ["--undo", "--list"]):
        done = waiting.run("review", *words)
        assert done.code == 2
        assert "a review does one thing at a time; leave out one of --" in done.err
    assert len(waiting.run("review", "--list", "--json").json) == 5


def test_no_list_shows_a_secret(cassettes: Cassettes) -> None:
    key = "sk-proj-" + "a1B2c3D4e5" * 4
    cassettes.write("a.pending.yaml", conversation(f"use {key}", f"used {key}"))
    for words in (("--list",), ("--list", "--json"), ()):
        done = cassettes.run("review", *words)
        assert done.code == 1
        assert key not in done.out + done.err


def test_changes_of_the_time_alone_come_last_and_in_one_group(cassettes: Cassettes) -> None:
    later = "2027-01-01T00:00:00Z"
    for name in ("a", "b"):
        cassettes.write(f"{name}.yaml", conversation("one", name), conversation("two", name))
        cassettes.write(
            f"{name}.pending.yaml", replace(conversation("one", name), recorded=later), conversation("two", "x")
        )
    found = cassettes.run("review", "--list", "--json").json
    assert [one["kind"] for one in found] == ["answer", "answer", "details", "details"]
    assert found[2]["group"] == found[3]["group"]
    assert re.search(r"^a +1  [0-9a-f]{8}  details +recorded$", cassettes.run("review", "--list").out, re.MULTILINE)


def test_other_fields_that_differ_are_listed(cassettes: Cassettes) -> None:
    def ended(reason: str) -> Interaction:
        said = conversation("one", "a")
        data = said.response.body.replace(b'"index": 0', b'"index": 0, "finish_reason": "%s"' % reason.encode())
        chunks = (replace(said.response.chunks[0], data=data),)
        headers = (*said.response.headers, ("x-model", reason))
        return replace(said, response=replace(said.response, chunks=chunks, headers=headers))

    cassettes.write("a.yaml", ended("stop"))
    cassettes.write("a.pending.yaml", ended("length"))
    listed = cassettes.run("review", "--list").out
    assert re.search(r"answer +answer choices\[\*\]\.finish_reason, answer header x", listed, re.MULTILINE)
    (found,) = cassettes.run("review", "--list", "--json").json
    assert [(each["was"], each["now"]) for each in found["fields"]] == [("stop", "length")] * 2


def test_a_request_to_another_host_is_the_same_where_hosts_are_not_compared(cassettes: Cassettes) -> None:
    row = ask("Emma?", "Yes.")
    cassettes.write("a.yaml", row)
    moved = replace(row, request=replace(row.request, url=row.request.url.replace("://", "://gateway.")))
    cassettes.write("a.pending.yaml", moved)
    assert [each["kind"] for each in cassettes.run("review", "--json").json] == ["prompt"]
    (cassettes.folder.parent / "pytest.ini").write_text("[pytest]\naquila_match_on = -origin\n")
    assert [each["kind"] for each in cassettes.run("review", "--json").json] == ["details"]
