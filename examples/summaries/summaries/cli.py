"""The command: enqueue jobs, and look at what became of them."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from summaries import store

LONGEST = 20_000
"""Characters of a document or prompt; the model could not take more."""


class Mistake(Exception):
    """The command cannot do what was typed; its text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 for a mistake, or 2 for an unknown option."""
    parser = argparse.ArgumentParser(prog="python -m summaries", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    summarize = commands.add_parser("summarize", help="enqueue a summary of a document")
    summarize.add_argument("file", help="a text file, or - for standard input")
    summarize.set_defaults(run=lambda options: enqueue("generate_summary", read(options.file)))

    stream = commands.add_parser("stream", help="enqueue a prompt whose answer is stored as it arrives")
    stream.add_argument("prompt")
    stream.set_defaults(run=lambda options: enqueue("stream_prompt", options.prompt))

    listing = commands.add_parser("list", help="list every job and its status")
    listing.set_defaults(run=lambda options: list_jobs())

    show = commands.add_parser("show", help="show what a job has stored")
    show.add_argument("job", help="the id of a job, or how it begins")
    show.set_defaults(run=lambda options: show_job(options.job))

    options = parser.parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Mistake as mistake:
        return fail(str(mistake))
    except (OSError, sqlite3.Error) as error:
        return fail(f"the folder {store.DATA} cannot be used ({error}); SUMMARIES_DATA names another")
    return 0


def read(name: str) -> str:
    """The text of a file. Raises ``Mistake``."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise Mistake(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Mistake(f"{name} is not a text file in UTF-8") from error


def enqueue(name: str, text: str) -> None:
    """Enqueue a task. Its row exists before any worker can see the task."""
    from summaries import tasks

    text = text.strip()
    if not text:
        raise Mistake("there is no text to work on")
    if len(text) > LONGEST:
        raise Mistake(f"the text has {len(text):,} characters; at most {LONGEST:,} are taken")
    task = getattr(tasks, name).s(text)
    store.put(task.id, name, text, "queued")
    tasks.huey.enqueue(task)
    print(f"enqueued {name} as job {task.id}")


def list_jobs() -> None:
    """Print a line for each job."""
    for row in store.rows():
        print(f"{row.job:.8}  {row.status:<8}{row.task:<18}{first_line(row.text or row.error or row.prompt)}")


def show_job(job: str) -> None:
    """Print one job. Raises ``Mistake``."""
    row = store.find(job)
    if row is None:
        raise Mistake(f"no job {job}, or several that begin like this; the command 'list' shows all")
    print(f"job     {row.job}\ntask    {row.task}\nstatus  {row.status}\nprompt  {first_line(row.prompt)}")
    if row.error:
        print(f"error   {row.error}")
    if row.chunks:
        print(f"chunks  {len(row.chunks)}")
    if row.text:
        print(f"model   {row.raw.get('model', '')}\ntext    {row.text}")


def first_line(text: str) -> str:
    """The beginning of a text, as much as fits beside the rest."""
    line = " ".join(text.split())
    return line if len(line) <= 70 else f"{line[:69]}…"


def fail(message: str) -> int:
    """Print a message about a mistake and return the exit status for it."""
    print(f"summaries: {message}", file=sys.stderr)
    return 1
