"""Look for secrets in cassettes, pending recordings and other files. Ends with 1 if there are any.

Looked for are the values of this environment's keys, tokens and passwords, and everything that has the shape of a key.
Each finding is a file, a line and a kind; the value is never shown. FILE is a cassette, a folder of them, a pattern,
or any file; by default all cassettes of the project are read. In a msgpack file and in a stream that holds a secret in
pieces, the interaction is named.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aquila import config
from aquila.cassettes.codecs import BUILT_IN_SUFFIXES, READ_ONLY_SUFFIXES
from aquila.cassettes.model import Interaction
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cli import FAILED, FOUND, project
from aquila.cli.output import Output, format_count
from aquila.recording.session_factory import match_rules_of, redactor_for


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """Where a secret is: a line of the file, or an interaction (both from 1)."""

    file: str
    line: int | None
    interaction: int | None
    kind: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.kind}" + (f" (interaction {self.interaction})" if self.interaction else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", help="which ones (default: all cassettes)")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Scan."""
    leaks: list[Leak] = []
    unreadable: list[str] = []
    with project.open_project(options) as here:
        files = here.choose_files(options.files)
        if not options.files:
            files += here.list_pending()
        settings = config.current_settings()
        known = redactor_for(match_rules_of(settings), settings.keep_headers)
        for path in files:
            try:
                leaks += _find_leaks(path, known, here.folder)
            except project.UNREADABLE as error:
                unreadable.append(project.describe_problem(path, error))
    for leak in leaks:
        output.print_line(str(leak))
    for message in unreadable:
        output.print_line(f"unreadable: {message}")
    hit = len({leak.file for leak in leaks})
    read = len(files) - len(unreadable)
    output.print_line(
        f"{format_count(len(leaks), 'secret')} in {format_count(hit, 'file')}, of {format_count(read, 'file')}. "
        "Revoke these keys, and record again."
        if leaks
        else f"no secrets in {format_count(read, 'file')}"
    )
    found: dict[str, Any] = {"files": read, "found": [dataclasses.asdict(leak) for leak in leaks]}
    output.print_json({**found, "unreadable": unreadable})
    return FOUND if leaks else FAILED if unreadable else 0


def _find_leaks(path: Path, known: Redactor, folder: Path) -> Iterator[Leak]:
    """The text of a file first; then what only reading it brings to light."""
    data = path.read_bytes()
    in_text = [] if path.suffix == ".msgpack" else known.scan(data)
    yield from (Leak(str(path), finding.line, None, finding.kind) for finding in in_text)
    suffix = path.suffix.lower()
    if in_text or suffix not in BUILT_IN_SUFFIXES:
        return
    if suffix in READ_ONLY_SUFFIXES and not path.absolute().is_relative_to(folder):
        return  # settings, say: what has the suffix of another recorder's cassettes need not be one
    for number, interaction in enumerate(project.load_cassette(path).interactions, 1):
        kind = _find_hidden_secret(interaction, known)
        if kind:
            yield Leak(str(path), None, number, kind)


def _find_hidden_secret(interaction: Interaction, known: Redactor) -> str | None:
    """What a recording would replace in an interaction, besides the header fields that it leaves out."""
    clean = known.interaction(interaction)
    before, after = interaction.request, clean.request
    if (before.url, before.body) != (after.url, after.body):
        return "secret in the request"
    if (interaction.response.body, interaction.response.error) != (clean.response.body, clean.response.error):
        return "secret in the answer"
    kept = dict(clean.request.headers) | dict(clean.response.headers)
    changed = [
        name
        for name, value in (*interaction.request.headers, *interaction.response.headers)
        if name in kept and kept[name] != value and "[redacted]" in kept[name]
    ]
    return f"secret in the header field {changed[0]}" if changed else None
