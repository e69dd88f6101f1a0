"""Merge two branches' versions of a cassette; git calls this (see aquila cassettes install-merge-driver).

BASE is the version from which both branches began. The result is written to OURS. PATH is the cassette's place in the
repository; its suffix says the format. The result has the changes of both branches: recordings that either branch
added, recorded again or removed. If both recorded the same request, the later recording stays. BASE may be a cassette
of vcrpy that both branches recorded into or converted. Any other file that is no cassette of Aquila is merged line by
line, as git does it. The exit code is 0, or 1 if conflicts are left.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
from pathlib import Path

from aquila.cassettes.codecs.foreign import is_foreign
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.branch_merge import merge_branches
from aquila.cli import FAILED, FOUND, project
from aquila.cli.comparing.interaction_summary import with_provenance
from aquila.cli.output import Output, print_error
from aquila.errors import AquilaError, CassetteCorrupt, CassetteWriteError, reason_of
from aquila.recording import runtime
from aquila.recording.sessions.known_keys import despite_lost_bodies
from aquila.recording.sessions.session_factory import match_rules_of, redactor_of, request_identifier
from aquila.shell_words import quote_word


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for name in ("base", "ours", "theirs"):
        parser.add_argument(name, metavar=name.upper(), type=Path)
    parser.add_argument("path", metavar="PATH", type=Path, nargs="?")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Merge, and write the result."""
    path: Path = options.path or options.ours
    with project.open_project(options, start=path.absolute().parent):
        # Large bodies that only the other branch has are missing: git writes them after it has called this command.
        key = despite_lost_bodies(request_identifier(match_rules_of(runtime.current_settings())))
        try:
            versions = [version.read_bytes() for version in (options.base, options.ours, options.theirs)]
            base, ours, theirs = _read_versions(versions, path)
            merged = merge_branches(base, ours, theirs, key)
            # Large bodies are files of their own, which git merges itself; the cassette holds only their names.
            data = cassette_files.encode_cassette(path, merged.cassette, advise=_advise)
        except CassetteWriteError as error:  # the result of a merge line by line could not be read either
            print_error(f"aquila: not merged: {reason_of(error)}")
            return FOUND
        except (AquilaError, OSError) as error:
            print_error(f"aquila: {path}: merged line by line, because {reason_of(error)}")
            return _merge_lines(options)
    options.ours.write_bytes(data)
    for decision in merged.decisions:
        print_error(f"aquila: {path}: {decision}")
    return 0


def _advise(path: Path) -> str:
    file = quote_word(str(path))
    return (
        "The file is as it was in this branch. Convert it to msgpack, which has no limit, in both, and merge again: "
        f"aquila cassettes convert {file} --to msgpack --replace"
    )


def _read_versions(versions: list[bytes], path: Path) -> list[Cassette]:
    """Read three versions of the cassette ``path``. For a branch without the cassette, git passes an empty file."""
    foreign = [is_foreign(path, data) for data in versions]
    if any(foreign[1:]):
        raise CassetteCorrupt("it was not written by Aquila")
    read = functools.partial(cassette_files.read_version, path=path.absolute(), source=str(path))
    cassettes = [read(data) if data else Cassette() for data in versions]
    if foreign[0]:
        # A branch that recorded has what it kept of it without secrets, one that converted it with time and model, too.
        clean = redactor_of(runtime.current_settings()).redact_interaction
        return [
            Cassette.from_interactions(with_provenance(clean(one)) for one in each.interactions) for each in cassettes
        ]
    return cassettes


def _merge_lines(options: argparse.Namespace) -> int:
    versions = [str(version) for version in (options.ours, options.base, options.theirs)]
    labels = ["-L", "ours", "-L", "base", "-L", "theirs"]
    code = subprocess.run(["git", "merge-file", *labels, *versions], check=False).returncode
    # `git merge-file` ends with the number of conflicts, at most 127; a greater code is an error.
    return 0 if not code else FOUND if code < 128 else FAILED
