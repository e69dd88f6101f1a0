"""The command: what it enqueues is what a worker can run, and its mistakes are explained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from summaries import store
from summaries.cli import main

from aquila.huey import AquilaHuey
from aquila.testing import PerformJob, RunConsumer

HERE = Path(__file__).parent
PROMPT = "Tell me about eagles in two sentences."


def test_what_is_enqueued_runs_and_can_be_shown(
    aquila_tasks: AquilaHuey, perform_job: PerformJob, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", PROMPT]) == 0
    [task] = aquila_tasks.pending()
    assert store.rows()[0].status == "queued"

    perform_job(task)

    capsys.readouterr()
    assert main(["list"]) == 0
    assert "done" in capsys.readouterr().out
    assert main(["show", task.id[:8]]) == 0
    shown = capsys.readouterr().out
    assert task.id in shown
    assert store.rows()[0].text in shown


def test_a_real_worker_does_what_was_enqueued(run_consumer: RunConsumer) -> None:
    assert main(["stream", PROMPT]) == 0
    with run_consumer():
        pass  # the block ends when the queue is empty and all is done
    [row] = store.rows()
    assert row.status == "done"
    assert "".join(row.chunks) == row.text


def test_a_document_is_read_from_its_file(aquila_tasks: AquilaHuey, tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    file.write_text("  A very short report.\n", encoding="utf-8")
    assert main(["summarize", str(file)]) == 0
    [task] = aquila_tasks.pending()
    assert task.args == ("A very short report.",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summarize", "no-such-file.txt"], "cannot read no-such-file.txt: No such file"),
        (["summarize", "."], "cannot read .: "),
        (["stream", "   "], "there is no text"),
        (["stream", "x" * 20_001], "20,001 characters; at most 20,000"),
        (["show", "0123"], "no job 0123"),
    ],
    ids=["no such file", "a folder", "empty", "too long", "unknown job"],
)
def test_a_mistake_is_one_clear_line_and_enqueues_nothing(
    arguments: list[str], message: str, aquila_tasks: AquilaHuey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    output = capsys.readouterr()
    assert output.err.startswith("summaries: ")
    assert message in output.err
    assert output.err.count("\n") == 1
    assert not aquila_tasks.pending()
    assert not store.rows()


def test_several_jobs_that_begin_alike_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    for job in ("ab1", "ab2"):
        store.put(job, "stream_prompt", f"the prompt of {job}", "queued")
    for begin in ("", "ab"):
        assert main(["show", begin]) == 1
        assert "several that begin like this" in capsys.readouterr().err
    assert main(["show", "ab2"]) == 0
    assert "the prompt of ab2" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_fault_of_the_folder(data: Path) -> None:
    rows = [(f"job{number}", "stream_prompt", "a prompt " * 8, "queued", "") for number in range(1_000)]
    with store.database() as connection:  # more than a pipe holds
        connection.execute("begin")
        connection.executemany(
            "insert into summaries (job, task, prompt, status, changed) values (?, ?, ?, ?, ?)", rows
        )
        connection.execute("commit")
    command = [sys.executable, "-m", "summaries", "list"]
    environment = {**os.environ, "SUMMARIES_DATA": str(data)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=HERE.parent, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "job" in process.stdout.read(2_000)
        process.stdout.close()
        assert process.stderr.read() == ""


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\xff\xfe")
    assert main(["summarize", str(file)]) == 1
    assert "is not a text file in UTF-8" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(store, "DATA", tmp_path / "file")
    assert main(["list"]) == 1
    assert "SUMMARIES_DATA names another" in capsys.readouterr().err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("summarize", "stream", "list", "show"))
