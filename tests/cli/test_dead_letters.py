"""The commands about dead letters: list, show, retry, drop."""

from __future__ import annotations

import functools
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from huey.registry import Message

from aquila.cli import main
from aquila.huey import dead_letters
from aquila.huey.delivery.dead_letters import TABLE
from aquila.huey.state import state_of

KEY = "sk-" + "proj-abcdefghijklmnopqrstuvwxyz0123456789"
APP = """
from aquila.huey import MemoryHuey, SqliteHuey
huey = SqliteHuey("app", filename={file!r})
at_once = MemoryHuey("app", immediate=True)
no_huey = object()

@huey.task(retries=1)
def job(name, key=None):
    raise ValueError(f"{{name}} failed with {{key}}")

@huey.task()
def log_in(user, password):
    raise ValueError(f"{{password}} is not the password of {{user}}")
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "lettered_app.py").write_text(APP.format(file=str(tmp_path / "queue.db")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.delitem(sys.modules, "lettered_app", raising=False)
    import lettered_app

    yield lettered_app
    lettered_app.huey.storage.close()
    sys.modules.pop("lettered_app", None)


def run(*words: str, command: str = "list") -> int:
    return main(["dead-letters", command, "--huey", "lettered_app:huey", *words])


def fail(app: Any, name: str, key: str | None = None) -> str:
    result = app.job(name, key=key)
    for _ in range(2):
        app.huey.execute(app.huey.dequeue())
    return str(result.id)


def test_the_list_says_which_task_failed_and_why(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert capsys.readouterr().out == "0 dead letters\n"
    id = fail(app, "report")
    app.huey.storage.enqueue(b"damaged")
    app.huey.dequeue()
    assert run() == 0
    out = capsys.readouterr().out
    assert id in out
    assert "failed" in out
    assert "unreadable" in out
    assert "2 dead letters" in out
    assert run("--kind", "failed", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["kind"], row["task"]) == (id, "failed", "lettered_app.job")
    assert row["reason"] == "ValueError: report failed with None"
    assert run("-n", "1") == 0
    assert "2 dead letters, 1 shown" in capsys.readouterr().out


def test_a_letter_is_shown_with_its_arguments_and_without_secrets(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    id = fail(app, "report", KEY)
    for words in ((id,), (id, "--json")):
        assert run(*words, command="show") == 0
        out = capsys.readouterr().out
        assert "report" in out
        assert "Traceback" in out
        assert "lettered_app.job" in out
        assert KEY not in out
    assert run("--json") == 0
    assert KEY not in capsys.readouterr().out


DEEP = functools.reduce(lambda inner, _: [inner], range(1000), "deep")


@pytest.mark.parametrize("words", [(), ("--json",)], ids=str)
@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"args": ({(1, 2): "odd key", b"k": 1, None: 2},), "kwargs": {}}, "odd key"),
        ({"args": ("told",), "kwargs": {"of": {(1, 2): {"password": "hunter22"}}}}, "(1, 2)"),
        ({"args": (DEEP, "told")}, "told"),
        ({"args": (ValueError(DEEP),)}, "jobs.gone"),
        ({"args": 57}, "57"),
        ({"args": None, "kwargs": None}, "jobs.gone"),
    ],
    ids=["odd keys", "a secret below one", "deep", "an error of what is deep", "no tuple", "none"],
)
def test_letters_with_odd_arguments_are_shown(
    app: Any, fields: dict[str, Any], shown: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    message = Message("the id", "jobs.gone", **fields)
    app.huey.storage.enqueue(app.huey.serializer.serialize(message))
    assert app.huey.dequeue() is None
    assert run("the id", *words, command="show") == 0
    out = capsys.readouterr().out
    assert shown in out
    assert "hunter22" not in out


def test_no_pickle_is_read_to_be_shown(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return pytest.fail, ("a pickle was read",)

    app.huey.storage.enqueue(pickle.dumps(Hostile()))
    app.huey.dequeue()
    (letter,) = dead_letters(app.huey)
    assert run(letter.id, command="show") == 0
    assert "is a pickle" in capsys.readouterr().out


def test_they_are_retried_and_dropped(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (fail(app, name) for name in ("one", "two", "three"))
    assert run(first, command="retry") == 0
    assert "1 message put into the queue again" in capsys.readouterr().out
    assert [task.id for task in app.huey.pending()] == [first]
    assert run(second, command="drop") == 0
    assert "1 dead letter removed" in capsys.readouterr().out
    assert [letter.id for letter in dead_letters(app.huey)] == [third]
    assert run("--all", "--kind", "lost", command="drop") == 0
    assert run("--all", "--kind", "failed", "--json", command="retry") == 0
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["retried"] == [third]
    assert len(dead_letters(app.huey)) == 0
    app.huey.flush()
    app.huey.storage.enqueue(b"damaged")
    app.huey.dequeue()
    assert run("--all", command="retry") == 1
    assert "cannot be read here" in capsys.readouterr().out
    assert app.huey.pending_count() == 1


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "is no path of a Huey"),
        ("no_such_module:huey", "there is no module 'no_such_module'"),
        ("lettered_app:hue", "has no 'hue'"),
        ("lettered_app:no_huey", "is no huey.Huey"),
        ("lettered_app:at_once", "immediate mode"),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_path_that_leads_to_no_huey_is_refused(place: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dead-letters", "list", "--huey", place]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("command", ["show", "retry", "drop"])
def test_an_unknown_id_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no-such-id", command=command) == 2
    said = capsys.readouterr().err
    assert "no dead letter 'no-such-id'" in said
    assert main(said.partition("all ids: aquila ")[2].split()) == 0


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("words", [[], ["--kind", "failed"], ["id", "--all"]], ids=str)
def test_retry_and_drop_need_an_id_or_all(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("retry", "drop"):
        assert run(*words, command=command) == 2
        assert "--all" in capsys.readouterr().err


PASSWORD = "hunter2hunter2"


def test_a_secret_that_only_its_name_reveals_is_hidden(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    app.job.task_class.default_retries = 0
    login = app.job("login", key={"password": PASSWORD})
    app.huey.execute(app.huey.dequeue())
    dead_letters(app.huey)._state.update(TABLE, login.id, _without_reason, order=0.0)
    for words in ((login.id,), (login.id, "--json")):
        assert run(*words, command="show") == 0
        shown = capsys.readouterr().out
        assert "login" in shown
        assert PASSWORD not in shown


def _without_reason(value: bytes | None) -> bytes:
    packed: bytes = msgpack.packb({**msgpack.unpackb(value), "reason": "", "details": ""})
    return packed


@pytest.mark.parametrize("before", range(150, 215, 16))
def test_no_part_of_a_key_in_a_pickle_is_shown(before: int, app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    app.huey.storage.enqueue(pickle.dumps([" " * before, KEY]))
    app.huey.dequeue()
    (letter,) = dead_letters(app.huey)
    assert run(letter.id, command="show") == 0
    assert KEY[:10] not in capsys.readouterr().out


def test_a_key_that_only_the_worker_knows_is_in_no_letter(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"
    monkeypatch.setenv("MY_API_KEY", key)
    for length in (0, 1_990, 9_990, 19_990):
        fail(app, "x " * (length // 2), key)
    monkeypatch.delenv("MY_API_KEY")
    for letter in dead_letters(app.huey):
        parts = {key[at : at + 8] for at in range(len(key) - 7)}
        assert not [part for part in parts if part in letter.reason + letter.details]


def test_an_unreachable_storage_is_reported_in_one_line(
    app: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise ConnectionError(f"refused with {KEY}")

    monkeypatch.setattr(state_of(app.huey), "count", refuse)
    assert run() == 2
    error = capsys.readouterr().err
    assert error.startswith("aquila: --huey lettered_app:huey: its storage does not answer: ConnectionError: refused")
    assert KEY not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [("--all",), ("one", "two")], ids=["all", "ids"])
def test_a_storage_that_stops_answering_ends_a_retry_in_one_line(
    words: tuple[str, ...], app: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {name: fail(app, name) for name in ("one", "two")}
    enqueue = app.huey.storage.enqueue

    def refuse_second(*given: Any) -> None:
        if app.huey.pending_count():
            raise RuntimeError("gone away")  # What a client of a storage raises need not be an `OSError`.
        enqueue(*given)

    monkeypatch.setattr(app.huey.storage, "enqueue", refuse_second)
    assert run(*(ids.get(word, word) for word in words), command="retry") == 2
    said = capsys.readouterr()
    assert "1 message put into the queue again" in said.out
    assert said.err == "aquila: --huey lettered_app:huey: its storage does not answer: RuntimeError: gone away\n"
    assert [letter.id for letter in dead_letters(app.huey)] == [ids["two"]]


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_an_id_that_is_given_twice_counts_once(command: str, app: Any) -> None:
    id = fail(app, "report")
    assert run(id, id, command=command) == 0


def test_a_letter_that_cannot_be_retried_is_named_by_the_exit_code(
    app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    id = fail(app, "report")
    state = state_of(app.huey)
    state.update(
        TABLE, id, lambda value: msgpack.packb({**msgpack.unpackb(value or b""), "retried_at": state.now()}), order=0
    )
    assert run("--all", command="retry") == 1
    assert "is being retried by somebody else" in capsys.readouterr().out


def test_the_name_of_a_parameter_hides_what_is_passed_by_position(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = app.log_in("eve", "moonlit-harbour-88")
    app.huey.execute(app.huey.dequeue())
    (letter,) = dead_letters(app.huey)
    assert letter.reason == "ValueError: [redacted] is not the password of eve"
    assert "moonlit" not in letter.details
    assert run(result.id, command="show") == 0
    shown = capsys.readouterr().out
    assert "user='eve'\npassword=[redacted]\n" in shown
    assert "moonlit" not in shown
    assert run(result.id, "--json", command="show") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["arguments"] == {"args": [], "kwargs": {"user": "eve", "password": "[redacted]"}}


@pytest.mark.parametrize("scheme", ["Bearer", "Basic", "Token", "bearer"])
def test_credentials_behind_a_scheme_are_hidden(scheme: str, app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    id = fail(app, f"Authorization: {scheme} moonlit.harbour.99 and more")
    assert run(id, command="show") == 0
    shown = capsys.readouterr().out
    assert "name='Authorization: [redacted] and more'" in shown
