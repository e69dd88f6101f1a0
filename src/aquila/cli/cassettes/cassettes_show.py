"""Show the requests and answers of a cassette. With --number, show one of them in full.

CASSETTE is a name in the cassette folder, or a file. Secrets in it are not shown. --yaml writes the whole cassette as
YAML, whatever its format, as git's textconv needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from aquila.cassettes.answers.answer_text import status_of
from aquila.cassettes.answers.transcript import write_transcript
from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.matching.body_lines import render_body
from aquila.cassettes.matching.request_key import canonical_request
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.web_socket_frames.frame import frames_of
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks
from aquila.cli import arguments, project
from aquila.cli.comparing.interaction_summary import (
    answered_by,
    day_of,
    describe_interaction,
    format_age,
    model_of,
    prompt_of,
    readable_text_of,
    with_provenance,
)
from aquila.cli.output import Output, format_size, shorten_to_line
from aquila.cli.tables import Column
from aquila.errors import CassetteCorrupt, CassetteError
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.reporting.played_answers import count_tokens
from aquila.recording.sessions.session_factory import match_rules_of, redactor_of

_COLUMNS = (
    Column("#"),
    Column("ASKED", "middle", 20),
    Column("REQUEST", "middle", 20, only_if_room=True),
    Column("MODEL", "middle", 10, only_if_room=True),
    Column("ANSWERED BY", "middle", 16),
    Column("RECORDED"),
    Column("STATUS"),
    Column("TOKENS", only_if_room=True),
    Column("ANSWER", "end", 15),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    cassette = parser.add_argument("cassette", metavar="CASSETTE", help="a name, or a file")
    arguments.complete_with(cassette, arguments.complete_cassettes)
    parser.add_argument("-n", "--number", type=int, metavar="N", help="show the N-th interaction (from 1) in full")
    parser.add_argument("--yaml", action="store_true", help="write the whole cassette as YAML")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Show the cassette."""
    with project.open_project(options) as here:
        path = here.find_one(options.cassette)
        cassette = project.load_cassette(path)
        settings = runtime.current_settings()
        clean = redactor_of(settings).redact_interaction
        if options.yaml:
            interactions = [_clean_for_git(one, clean) for one in cassette.interactions]
            sys.stdout.flush()
            sys.stdout.buffer.write(YamlCodec().dumps(Cassette.from_interactions(interactions)))
            return 0
        interactions = [with_provenance(clean(one)) for one in cassette.interactions]
        if options.number is None:
            _print_all(interactions, path, output)
        else:
            _print_one(interactions, options.number, path, output)
    return 0


def _clean_for_git(one: Interaction, clean: Callable[[Interaction], Interaction]) -> Interaction:
    """Return an interaction without secrets. If large bodies are missing, all of them are only named, and not read.

    git copies a version of a cassette into a folder of its own, without the bodies, and ends if this command fails.
    """
    try:
        return with_provenance(clean(one))
    except CassetteCorrupt:
        request, chunks = one.request, one.response.chunks
    bare = RecordedRequest(request.method, request.url, request.headers)
    sounds = chunks.sounds if isinstance(chunks, SoundChunks) else ()
    inside = chunks.templates if isinstance(chunks, SoundChunks) else chunks
    is_stored = isinstance(inside, StoredChunks)
    shown = clean(
        replace(
            one,
            request=bare if isinstance(request, StoredRequest) else request,
            response=replace(one.response, chunks=() if is_stored else inside),
        )
    )
    if isinstance(request, StoredRequest):
        shown = replace(shown, request=request.with_parts(shown.request.url, shown.request.headers))
    said = inside if is_stored else shown.response.chunks
    return replace(shown, response=replace(shown.response, chunks=SoundChunks(said, sounds) if sounds else said))


def _print_all(interactions: list[Interaction], path: Path, output: Output) -> None:
    output.print_line(f"{path}: {count_of(len(interactions), 'interaction')}")
    output.print_line()
    output.print_table(
        _COLUMNS,
        [
            (
                number,
                shorten_to_line(prompt_of(one), 500) or _request_line(one),
                _request_line(one) if prompt_of(one) else "",
                model_of(one) or "-",
                answered_by(one) or "-",
                day_of(one.recorded),
                status_of(one),
                count_tokens(one),
                shorten_to_line(readable_text_of(one), 100),
            )
            for number, one in enumerate(interactions, 1)
        ],
    )
    output.print_json([describe_interaction(one, number) for number, one in enumerate(interactions, 1)])


def _request_line(interaction: Interaction) -> str:
    return f"{interaction.request.method} {urlsplit(interaction.request.url).path}"


def _print_one(interactions: list[Interaction], number: int, path: Path, output: Output) -> None:
    """Print interaction ``number`` (from 1) in full. Raises ``CassetteError`` if there is none."""
    if not 1 <= number <= len(interactions):
        held = count_of(len(interactions), "interaction")
        raise CassetteError(f"{path} has {held}, and no number {number}")
    _print_in_full(interactions[number - 1], number, output)
    output.print_json(describe_interaction(interactions[number - 1], number, full=True))


def _print_in_full(interaction: Interaction, number: int, output: Output) -> None:
    request, response = interaction.request, interaction.response
    recorded = (
        f", recorded {interaction.recorded} ({format_age(interaction.recorded)} ago)" if interaction.recorded else ""
    )
    recorded += f", answered by {answered_by(interaction)}" if answered_by(interaction) else ""
    output.print_line(f"#{number}  {request.method} {request.url}{recorded}")
    for name, value in request.headers:
        output.print_line(f"  {name}: {value}")
    output.print_line()
    rules = match_rules_of(runtime.current_settings()).without_placeholders()
    for line in render_body(canonical_request(request, rules)):
        output.print_line(f"  {line}")
    output.print_line()
    said = frames_of(interaction)
    kind = "chunk" if said is None else "message"
    pieces = f"{count_of(len(response.chunks if said is None else said), kind)}, {format_size(len(response.body))}"
    output.print_line(f"{status_of(interaction)}  after {response.started} ms, {pieces} until {response.ended} ms")
    for name, value in response.headers:
        output.print_line(f"  {name}: {value}")
    output.print_line()
    if said is not None:
        for line in write_transcript(said):
            output.print_line(f"  {line}")
        return
    output.print_text(readable_text_of(interaction) or response.body.decode("utf-8", "backslashreplace"))
