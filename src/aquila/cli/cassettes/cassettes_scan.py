"""Look for secrets in cassettes, pending recordings and other files. The exit code is 1 if there are any.

A secret is a value of a key, token or password in the environment, or text that has the form of a key. For each secret
the command prints the file, the line and the kind, never the secret. In a msgpack file, and for a secret that a stream
holds in pieces, it prints the number of the interaction instead of the line. FILE is a cassette, a folder of cassettes,
a pattern, or any other file. Without one, all cassettes of the project are scanned.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.codecs import BUILT_IN_SUFFIXES, READ_ONLY_SUFFIXES
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.secret_patterns import redact_placeholders
from aquila.cassettes.storage.cassette_files import is_json_of_vcrpy
from aquila.cassettes.storage.regular_files import read_regular
from aquila.cli import FAILED, FOUND, arguments, project
from aquila.cli.output import Output
from aquila.cli.progress import track_progress
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.sessions.session_factory import redactor_of


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """The place of a secret: a line of the file, or an interaction. Both are counted from 1."""

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
    files = parser.add_argument("files", nargs="*", metavar="FILE", help="which files (default: all cassettes)")
    arguments.complete_with(files, arguments.complete_cassettes_and_files)


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Scan the files and print what was found."""
    leaks: list[Leak] = []
    unreadable: list[str] = []
    with project.open_project(options) as here:
        files = here.choose_files(options.files, of_any_kind=True)
        if not options.files:
            files += here.list_pending()
        settings = runtime.current_settings()
        known = redactor_of(settings)
        for path in track_progress(files, "scanning"):
            try:
                leaks += _find_leaks(path, known, is_inside=here.folder_of(path) is not None)
            except project.UNREADABLE as error:
                unreadable.append(project.describe_problem(path, error))
    for leak in leaks:
        output.print_line(str(leak))
    for message in unreadable:
        output.print_problem(f"unreadable: {message}")
    hit = len({leak.file for leak in leaks})
    read = len(files) - len(unreadable)
    output.print_line(
        f"{count_of(len(leaks), 'secret')} in {count_of(hit, 'file')}, of {count_of(read, 'file')}. "
        "Revoke these keys, and record again."
        if leaks
        else f"no secrets in {count_of(read, 'file')}"
    )
    found: dict[str, Any] = {"files": read, "found": [dataclasses.asdict(leak) for leak in leaks]}
    output.print_json({**found, "unreadable": unreadable})
    return FOUND if leaks else FAILED if unreadable else 0


def _find_leaks(path: Path, known: Redactor, *, is_inside: bool) -> Iterator[Leak]:
    """Search the text of a file. If it has no secret, search its interactions: secrets may be encoded or split."""
    suffix = path.suffix.lower()
    text = read_regular(path, follow=True)
    in_text = [] if suffix == ".msgpack" else known.find_secrets(text)
    yield from (Leak(str(path), finding.line, None, finding.kind) for finding in in_text)
    if in_text or not (suffix in BUILT_IN_SUFFIXES or is_json_of_vcrpy(path)):
        return
    if not is_inside and (
        suffix in READ_ONLY_SUFFIXES or (suffix in (".yaml", ".yml") and not _OF_CASSETTES.search(text))
    ):
        return  # settings, for example: a git hook names every file of a commit
    for number, interaction in enumerate(project.load_cassette(path).interactions, 1):
        kind = _find_hidden_secret(interaction, known)
        if kind:
            yield Leak(str(path), None, number, kind)


_OF_CASSETTES = re.compile(
    rb"""\A(?:\xff\xfe|\xfe\xff)|^(?:\xef\xbb\xbf)?(?:\{\s*)?["']?(?:aquila|interactions)["']?\s*:""", re.MULTILINE
)
"""The beginning of a line that a cassette in YAML has, of Aquila or of vcrpy, and a damaged one most probably.

An editor may have put a byte order mark before it, and a program written it as JSON. Nothing is found in UTF-16, which
reading it as a cassette says.
"""


def _find_hidden_secret(interaction: Interaction, known: Redactor) -> str | None:
    """Return the first part of an interaction that a recording would redact, except headers that it never stores."""
    interaction = dataclasses.replace(interaction, request=_without_placeholders(interaction.request))
    clean = known.redact_interaction(interaction)
    before, after = interaction.request, clean.request
    if before.url != after.url or _content_of(before) != _content_of(after):
        return "secret in the request"
    if interaction.response.error != clean.response.error or not _is_same_body(interaction.response, clean.response):
        return "secret in the answer"
    kept = dict(clean.request.headers) | dict(clean.response.headers)
    changed = [
        name
        for name, value in (*interaction.request.headers, *interaction.response.headers)
        if name in kept and kept[name] != value and "[redacted]" in kept[name]
    ]
    return f"secret in the header field {changed[0]}" if changed else None


def _without_placeholders(request: RecordedRequest) -> RecordedRequest:
    """Return a request with ``[redacted]`` instead of other placeholders, so that redaction does not change them."""
    if isinstance(request, StoredRequest):
        return request
    url = redact_placeholders(request.url.encode("utf-8", "surrogateescape"), is_url=True)
    body = redact_placeholders(request.body)
    return dataclasses.replace(request, url=url.decode("utf-8", "surrogateescape"), body=body)


def _content_of(request: RecordedRequest) -> object:
    """Return a value that is equal for equal bodies. A large body is compared by its file, which redaction replaces."""
    return request.file if isinstance(request, StoredRequest) else request.body


def _is_same_body(before: RecordedResponse, after: RecordedResponse) -> bool:
    if isinstance(before.chunks, StoredChunks):
        return before.chunks == after.chunks
    return before.body == after.body
