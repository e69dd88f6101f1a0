"""Chooses what ``aquila cassettes diff`` compares: two cassettes, two folders, or versions of one in git."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.cli import project
from aquila.cli.cassettes.cassette_folders import USUAL_NAMES
from aquila.cli.comparing.git_versions import commit_of, load_version, other_form, run_git
from aquila.errors import AquilaError, CassetteError


class Pair(NamedTuple):
    """Two cassettes to compare. ``name`` is printed before their differences if there are several pairs."""

    name: str
    load_a: Callable[[], Cassette]
    load_b: Callable[[], Cassette]


def choose_pairs(here: project.Project, a: str, b: str | None, scratch: Path) -> list[Pair]:
    """Return the pairs that the arguments mean. Raises ``CassetteError`` for an argument that names nothing.

    ``scratch`` is a folder that must exist until the pairs have been compared.

    If ``a`` names no cassette but a revision of git, the cassettes that ``b`` names (all if it is None) are compared
    with their versions in that revision.
    """
    known = here.names_a_cassette(a)
    if not known and shutil.which("git") is None:
        try:
            here.find_one(a)
        except AquilaError as error:
            sentence = str(error) if str(error).endswith("?") else f"{error}."
            raise CassetteError(f"{sentence} If it is a revision: git is not installed here") from error
    if not known and _is_revision(bases_of(here)[0], a):
        return _pairs_with_revision(here, a, b, scratch)
    if b is None:
        if not known and here.has_folder:
            raise CassetteError(f"{a!r} is neither a cassette in {project.list_folders(here.folders)} nor a revision")
        here.find_one(a)  # raises what is wrong with it, if it is not there
        raise CassetteError(f"{a!r} is a cassette; to compare it, give a second one, or a revision")
    files_a, files_b = here.choose_files([a]), here.choose_files([b])
    if len(files_a) == len(files_b) == 1:
        return [Pair("", *(_loader(path) for path in (files_a[0], files_b[0])))]
    inside_a, inside_b = (_by_place(here, name, files) for name, files in ((a, files_a), (b, files_b)))
    places = sorted(inside_a.keys() | inside_b.keys())
    return [Pair(place, _loader(inside_a.get(place)), _loader(inside_b.get(place))) for place in places]


def _by_place(here: project.Project, name: str, files: list[Path]) -> dict[str, Path]:
    """Return the files of a folder by their paths within it, without suffix: the formats may differ.

    Raises ``CassetteError`` if ``name`` is not a folder, or is the name of several.
    """
    prefix, folder = f"{name.rstrip('/')}/", Path(name).absolute()
    found: dict[str, Path] = {}
    for path in files:
        inside = [known.removeprefix(prefix) for known in here.names_of(path) if known.startswith(prefix)]
        if path.is_relative_to(folder):
            inside.append(path.relative_to(folder).as_posix().removesuffix(".yaml"))
        if not inside:
            raise CassetteError(f"{name!r} is no folder of cassettes; compare one with one, or a folder with a folder")
        place = project.shorten_name(inside[0], path)
        if place in found:
            both = f"{here.name_of(found[place])} and {here.name_of(path)}"
            raise CassetteError(f"{name!r} is a folder in several places: {both}. Give the path of one of them")
        found[place] = path
    return found


def _loader(path: Path | None) -> Callable[[], Cassette]:
    return lambda: Cassette() if path is None else project.load_cassette(path)


def _pairs_with_revision(here: project.Project, revision: str, name: str | None, scratch: Path) -> list[Pair]:
    then: dict[Path, Callable[[], Cassette]] = {}
    for base in bases_of(here):
        commit = commit_of(base, revision)
        changed = set(_list_paths(base, "diff", "--relative", "--no-renames", "--no-ext-diff", "--name-only", commit))
        for path in _list_paths(base, "ls-tree", "-r", "--name-only", commit):
            # What is as it was is read from the project: to read it from git takes a process.
            then[path] = (
                functools.partial(load_version, base, commit, path, scratch) if path in changed else _loader(path)
            )
    now = here.list_cassettes() if here.has_folder else []
    paths = {path for path in {*then, *now} if is_cassette(path, here)}
    chosen = sorted(path for path in paths if name is None or here.is_named(path, name))
    if not chosen:
        wanted = "no cassette" if name is None else f"no cassette {name!r}"
        raise CassetteError(f"{wanted} in {here.root}, neither now nor in {revision}")
    converted = {path: other for path in now if path not in then and (other := other_form(path)) in then.keys() - now}
    return [
        Pair(
            here.name_of(path),
            then.get(converted.get(path, path), Cassette),
            _loader(path if path.is_file() else None),
        )
        for path in chosen
        if path not in converted.values()
    ]


def _list_paths(base: Path, *arguments: str) -> list[Path]:
    """Return the paths below ``base`` that a command of git lists."""
    listed = os.fsdecode(run_git(base, *arguments, "-z", "--", "."))
    return [base / inside for inside in listed.split("\0") if inside]


def bases_of(here: project.Project) -> list[Path]:
    """Return the folders in which git is run: that of the project, and cassette folders outside of it."""
    outside = [folder for folder in here.folders if folder.is_dir() and not folder.is_relative_to(here.root)]
    return outside if len(outside) == len(here.folders) else [here.root, *outside]


def is_cassette(path: Path, here: project.Project) -> bool:
    """Return whether a file, which may exist only in git, is a cassette, even if its whole folder was removed."""
    folder = here.folder_of(path) or next((up for up in path.parents if up.name in USUAL_NAMES), None)
    return folder is not None and cassette_files.is_cassette_name(path, folder)


def _is_revision(folder: Path, name: str) -> bool:
    try:
        commit_of(folder, name)
    except CassetteError:
        return False
    return True
