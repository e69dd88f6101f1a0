"""Show the requests and answers of a cassette. With --number, show one of them in full.

CASSETTE is a name in the cassette folder, or a file. Secrets in it are not shown. --yaml writes the whole cassette as
YAML, whatever its format; git's textconv can use that.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.matching.miss_message import render_body
from aquila.cassettes.matching.request_key import canonical_request
from aquila.cassettes.model import Interaction
from aquila.cli import project
from aquila.cli.interaction_summary import answered_by, describe_interaction, model_of, readable_text_of, status_of
from aquila.cli.output import Output, format_count, format_size, shorten_to_line
from aquila.errors import CassetteError
from aquila.recording import runtime
from aquila.recording.redactors import redactor_for
from aquila.recording.reports import count_tokens
from aquila.recording.session_factory import match_rules_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    parser.add_argument("cassette", metavar="CASSETTE")
    parser.add_argument("-n", "--number", type=int, metavar="N", help="show the N-th interaction (from 1) in full")
    parser.add_argument("--yaml", action="store_true", help="write the whole cassette as YAML")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Show the cassette."""
    with project.open_project(options) as here:
        path = here.find_one(options.cassette)
        cassette = project.load_cassette(path)
        if options.yaml:
            sys.stdout.flush()
            sys.stdout.buffer.write(YamlCodec().dumps(cassette))
            return 0
        settings = runtime.current_settings()
        clean = redactor_for(match_rules_of(settings), settings.keep_headers).redact_interaction
        interactions = [clean(interaction) for interaction in cassette.interactions]
        if options.number is None:
            _print_all(interactions, path, output)
        else:
            _print_one(interactions, options.number, path, output)
    return 0


def _print_all(interactions: list[Interaction], path: Path, output: Output) -> None:
    output.print_line(f"{path}: {format_count(len(interactions), 'interaction')}")
    output.print_line()
    output.print_table(
        ("#", "REQUEST", "MODEL", "ANSWERED BY", "STATUS", "CHUNKS", "TOKENS", "ANSWER"),
        [
            (
                number,
                f"{one.request.method} {urlsplit(one.request.url).path}",
                model_of(one),
                answered_by(one),
                status_of(one),
                len(one.response.chunks),
                count_tokens(one),
                shorten_to_line(readable_text_of(one), 100),
            )
            for number, one in enumerate(interactions, 1)
        ],
    )
    output.print_json([describe_interaction(one, number) for number, one in enumerate(interactions, 1)])


def _print_one(interactions: list[Interaction], number: int, path: Path, output: Output) -> None:
    """Print interaction ``number`` (from 1) in full. Raises ``CassetteError`` if there is none."""
    if not 1 <= number <= len(interactions):
        held = format_count(len(interactions), "interaction")
        raise CassetteError(f"{path} has {held}, and no number {number}")
    _print_in_full(interactions[number - 1], number, output)
    output.print_json(describe_interaction(interactions[number - 1], number, full=True))


def _print_in_full(interaction: Interaction, number: int, output: Output) -> None:
    request, response = interaction.request, interaction.response
    recorded = f", recorded {interaction.recorded}" if interaction.recorded else ""
    recorded += f", answered by {answered_by(interaction)}" if answered_by(interaction) else ""
    output.print_line(f"#{number}  {request.method} {request.url}{recorded}")
    for name, value in request.headers:
        output.print_line(f"  {name}: {value}")
    output.print_line()
    for line in render_body(canonical_request(request, match_rules_of(runtime.current_settings()))):
        output.print_line(f"  {line}")
    output.print_line()
    pieces = f"{format_count(len(response.chunks), 'chunk')}, {format_size(len(response.body))}"
    output.print_line(f"{status_of(interaction)}  after {response.started} ms, {pieces} until {response.ended} ms")
    for name, value in response.headers:
        output.print_line(f"  {name}: {value}")
    output.print_line()
    output.print_text(readable_text_of(interaction) or response.body.decode("utf-8", "backslashreplace"))
