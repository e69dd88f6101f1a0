"""Convert cassettes to YAML or msgpack, also those of vcrpy and cassetter, and check that nothing is lost.

FILE is the name of a cassette, a file, a folder of cassettes, or a pattern. The result is written beside the source, or
to the folder of --output. An existing file is replaced only with --force. With --replace the source is removed after
the result has been read back and found equal. If a .yaml and a .msgpack file have the same name, the .yaml file is
converted.

Cassettes of vcrpy and cassetter become Aquila's, in place, with --to yaml --replace. Secrets in them are redacted as in
a recording.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

from aquila.cassettes.codecs import codec_for
from aquila.cassettes.codecs.foreign import is_foreign
from aquila.cassettes.codecs.json_body import with_compact_request
from aquila.cassettes.model import Cassette
from aquila.cassettes.redaction.request_headers import is_secret_header
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names_beside import name_beside
from aquila.cli import FAILED, arguments, project
from aquila.cli.comparing.interaction_summary import with_provenance
from aquila.cli.output import Output, format_size, shorten_path
from aquila.cli.progress import track_progress
from aquila.cli.tables import Column
from aquila.errors import CassetteError
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.sessions.session_factory import redactor_of
from aquila.review.kept_decisions import hold_reviews


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    files = parser.add_argument("files", nargs="+", metavar="FILE", help="a cassette, a file, a folder, or a pattern")
    arguments.complete_with(files, arguments.complete_cassettes_and_files)
    parser.add_argument("--to", choices=("yaml", "msgpack"), required=True, help="the format to write")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="the folder to write to; subfolders are kept")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--replace", action="store_true", help="remove the source after the result has been checked")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Convert each file. A file that fails does not stop the others."""
    done: list[dict[str, Any]] = []
    with project.open_project(options) as here:
        sources = list(here.choose_files(options.files))
        waiting = [source for source in sources if cassette_files.is_pending_file(source) and options.output is None]
        with hold_reviews(map(here.recording_folder_of, waiting), intent="converted"):
            for source in track_progress(sources, "converting"):
                target = _target_path(source, here, options)
                try:
                    done.append(_convert_file(source, target, options))
                except project.UNREADABLE as error:
                    reason = project.describe_problem(source, error)
                    done.append({"from": str(source), "to": str(target), "error": reason})
    converted = [one for one in done if "error" not in one]
    for one in done:
        if "error" in one:
            output.print_problem(f"not converted: {one['error']}")
    output.print_table(
        (Column("FROM"), Column("TO", "middle", 20), Column("REQUESTS"), Column("SIZE"), Column("BEFORE")),
        [
            (
                shorten_path(one["from"]),
                _shorten_target(one["from"], one["to"]),
                one["interactions"],
                format_size(one["bytes"]),
                format_size(one["bytes_before"]),
            )
            for one in converted
        ],
    )
    if reduced := [one["left_out"] for one in converted if one["left_out"]]:
        kinds: tuple[list[str], list[str]] = [], []
        for name, count in Counter(name for names in reduced for name in names).most_common():
            kinds[is_secret_header(name)].append(f"{name} ({count})" if len(reduced) > 1 else name)
        what = ("aquila_keep_headers keeps them: ", "never kept, because they carry credentials: ")
        told = [said + ", ".join(names) for said, names in zip(what, kinds, strict=True) if names]
        files = count_of(len(reduced), "file")
        output.print_line(f"{files} without header fields that recordings do not have; {'; '.join(told)}")
    output.print_json(done)
    return FAILED if len(converted) < len(done) else 0


def _target_path(source: Path, here: project.Project, options: argparse.Namespace) -> Path:
    # The test of another recorder goes on naming its file, such as `birds.json`. So that suffix belongs to the name.
    if source.suffix in (".json", ".toml"):
        renamed = source.with_name(name_beside(source, f".{options.to}"))
    else:
        is_it = source.suffix == ".yml" and options.to == "yaml"
        renamed = source if is_it else source.with_suffix(f".{options.to}")
    if options.output is None:
        return renamed
    folder: Path = options.output
    place = here.place_of(renamed)
    return folder / (renamed.name if place is None else place)


def _shorten_target(source: str, target: str) -> str:
    """Return the suffix of the target if it stands beside the source under the same name, else its path."""
    beside = Path(source).with_suffix("") == Path(target).with_suffix("")
    return Path(target).suffix if beside else shorten_path(target)


def _convert_file(source: Path, target: Path, options: argparse.Namespace) -> dict[str, Any]:
    in_place = target.exists() and os.path.samefile(source, target)
    if target.exists() and not (options.replace if in_place else options.force):
        hint = "--replace rewrites it in place" if in_place else "--force replaces it, with all that was recorded there"
        raise CassetteError(f"{target} exists; {hint}")
    settings = runtime.current_settings()
    cassette = project.load_whole_cassette(source)
    before, written = source.stat().st_size, source.stat().st_mtime_ns
    left_out: list[str] = []
    if is_foreign(source, source.read_bytes()):  # Aquila's own cassettes were redacted when they were recorded
        clean = redactor_of(settings).redact_interaction
        found = cassette
        cassette = Cassette.from_interactions(with_provenance(clean(one)) for one in found.interactions)
        left_out = _fields_left_out(found, cassette)
    # Large bodies are moved first, so that both sides of the comparison below hold only their names.
    cassette = cassette_files.move_large_bodies_out(cassette, target)
    data = cassette_files.encode_cassette(
        target, cassette, advise=lambda path: "Nothing was changed. A cassette in msgpack has no limit: --to msgpack"
    )
    # JSON requests are compared by value, because their white space may change.
    expected, read = (
        Cassette.from_interactions(map(with_compact_request, one.interactions))
        for one in (cassette, codec_for(target).loads(data, source=str(target)))
    )
    if read != expected:
        raise CassetteError(f"{source}: written as {options.to} it does not read back equal; nothing was changed")
    is_new = not target.exists()
    cassette_files.save_cassette(target, cassette)
    with contextlib.suppress(OSError):  # not every file system lets a time be set
        os.utime(target, ns=(written, written))  # accepting compares the times of a pending file and its cassette
    if options.replace and not in_place:
        try:
            cassette_files.remove_cassette(source)
        except CassetteError:
            if is_new:  # two files of one cassette would be ambiguous
                cassette_files.remove_cassette(target)
            raise
    return {
        "from": str(source),
        "to": str(target),
        "interactions": len(cassette.interactions),
        "bytes": target.stat().st_size,
        "bytes_before": before,
        "left_out": left_out,
    }


def _fields_left_out(before: Cassette, after: Cassette) -> list[str]:
    """Return the names of header fields that ``before`` has and ``after`` lacks, sorted."""
    names: set[str] = set()
    for one, other in zip(before.interactions, after.interactions, strict=True):
        for found, kept in ((one.request, other.request), (one.response, other.response)):
            names |= dict(found.headers).keys() - dict(kept.headers).keys()
    return sorted(names)
