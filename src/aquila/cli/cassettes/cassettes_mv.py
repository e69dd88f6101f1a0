"""Move cassettes after a test, a module or a folder of tests was renamed.

OLD and NEW are two ids of tests (or classes), two paths of modules, two folders of tests, or two names of cassettes,
which may be paths of their files:

  aquila cassettes mv tests/test_web.py::test_ask tests/test_web.py::test_asks
  aquila cassettes mv tests/test_web.py tests/test_site.py
  aquila cassettes mv tests/web tests/site
  aquila cassettes mv cassettes/jobs/summary.yaml cassettes/jobs/report.yaml

The cassettes of a test are moved for all its parameters, with their pending recordings and large bodies. Nothing is
overwritten: if one of the new files exists, none is moved.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from aquila.cassettes.codecs import cassette_suffixes
from aquila.cassettes.storage import cassette_files, journal, renaming
from aquila.cli import FAILED, arguments, project
from aquila.cli.output import Output, print_error
from aquila.errors import CassetteError
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.review.kept_decisions import hold_reviews
from aquila.shell_words import join_words, path_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    project.add_arguments(parser)
    old = parser.add_argument("old", metavar="OLD", help="the old id, path or name")
    new = parser.add_argument("new", metavar="NEW", help="the new one")
    for argument in (old, new):
        arguments.complete_with(argument, arguments.complete_cassettes_and_files)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be moved")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Find the files, and move them."""
    with project.open_project(options) as here:
        here.list_cassettes()  # raises if there is no cassette folder
        folder, old, new = _choose_folder(here, *_from_root(options.old, options.new, here))
        if not options.dry_run:
            _take_over_journals(here, folder, output)
        found = renaming.find_renames(folder, old, new)
        if not found.files and not found.unclear:
            raise CassetteError(f"no cassette of {options.old!r} in {folder}")
        if not options.dry_run:
            moves_pending = any(cassette_files.is_pending_file(Path(source)) for source, _ in found.files)
            with hold_reviews([folder] if moves_pending else [], intent="moved"):
                renaming.move_files(folder, found.files)
            renaming.rename_uses(folder, found, old, new)
        rows = [[here.show_file(path) for path in rename] for rename in found.files]
        unclear = [here.show_file(path) for path in found.unclear]
    for source, target in rows:
        output.print_line(f"{source} -> {target}")
    output.print_line(f"{'would move' if options.dry_run else 'moved'} {count_of(len(rows), 'file')}")
    output.print_json(
        {"moved": not options.dry_run, "files": [dict(zip(("old", "new"), row, strict=True)) for row in rows]}
    )
    for name in unclear:
        print_error(
            f"aquila: {name} was left: its name has a hash of the test's parameters. Name old and new test with them, "
            f"in quotes: aquila cassettes mv {join_words([f'{options.old}[...]', f'{options.new}[...]'])}"
        )
    return FAILED if unclear else 0


def _from_root(old: str, new: str, here: project.Project) -> tuple[str, str]:
    """Return both arguments with paths relative to the root folder. Users type paths relative to the current folder."""
    is_path = "::" in old or old.endswith(".py")
    names = [_name_in_folder(each, here) for each in (old, new)]
    if not is_path and names != [None, None] and _means_file(old, here):
        return names[0] or old, names[1] or new
    root = runtime.current_settings().root.absolute()
    if not is_path and Path.cwd() != root:  # in the root folder, names of cassettes and paths are the same
        folder = path_from(root, Path.cwd() / old)
        is_path = not folder.startswith("..") and (here.folder / folder).is_dir()
    if not is_path:
        return old.removesuffix(".yaml"), new.removesuffix(".yaml")
    return _name_from(root, old), _name_from(root, new)


def _means_file(old: str, here: project.Project) -> bool:
    """Say whether a word that may be the path of a cassette, or of a folder of them, is one, and no name."""
    if os.path.isabs(old):
        return True
    if here.folder_of(Path.cwd()) is not None:  # there any word may be a path
        return os.path.exists(old)
    # A name may look like a path where the cassettes are in the folder of the tests.
    return not any((here.folder / f"{old}{suffix}").exists() for suffix in ("", *cassette_suffixes()))


def _name_in_folder(given: str, here: project.Project) -> str | None:
    """Return the name of a cassette, or of a folder of cassettes, that was given by its path; None for other words."""
    path = Path(os.path.abspath(given))
    place = here.place_of(path)
    if place is None or path in here.folders:
        return None
    return (place.with_suffix("") if place.suffix in cassette_suffixes() else place).as_posix()


def _choose_folder(here: project.Project, old: str, new: str) -> tuple[Path, str, str]:
    """Return the cassette folder of both names, and the names within it.

    Outside the main folder the names begin with the path of their folder in the project.
    """
    for folder in here.folders[1:]:
        prefix = f"{folder.relative_to(here.root).as_posix()}/" if folder.is_relative_to(here.root) else ""
        if prefix and old.startswith(prefix) and new.startswith(prefix):
            return folder, old.removeprefix(prefix), new.removeprefix(prefix)
    return here.folder, old, new


def _name_from(root: Path, name: str) -> str:
    path, colons, inside = name.partition("::")
    return path_from(root, Path.cwd() / path) + colons + inside


def _take_over_journals(here: project.Project, folder: Path, output: Output) -> None:
    """Store what interrupted runs left, before the names change.

    Raises ``CassetteError`` while a run is recording.
    """
    if journal.find_journals_in_use(folder):
        raise CassetteError(f"a run is recording into {folder} now. Move its cassettes when it has ended")
    stored, failures = here.store_interrupted(folder)
    for line in stored:
        output.print_line(line)
    if failures:
        raise CassetteError("nothing was moved: " + " ".join(failures))
