"""Chooses what ``aquila cassettes diff`` compares: two cassettes, two folders, or two versions in git."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.cli import project
from aquila.cli.cassettes.cassette_folders import USUAL_NAMES
from aquila.cli.comparing.git_versions import (
    WORK_TREE,
    VersionReader,
    Versions,
    list_changed_files,
    read_versions,
    refuse_unusable,
    staged_versions,
)
from aquila.errors import AquilaError, CassetteError


class Pair(NamedTuple):
    """Two versions of a cassette to compare. ``renamed_from`` is the name of the first one, if it has another."""

    name: str
    load_before: Callable[[], Cassette]
    load_after: Callable[[], Cassette]
    renamed_from: str = ""


def choose_pairs(
    here: project.Project, a: str | None, b: str | None, stack: ExitStack, *, staged: bool
) -> tuple[list[Pair], str]:
    """Return the pairs that the arguments mean, and words for what is compared, such as ``in main...HEAD``.

    ``stack`` closes what the loading of the pairs needs. With ``staged``, ``a`` names the cassettes, or is None for
    all. If ``a`` names no cassette but a revision or a range of git, so does ``b``.

    Raises ``CassetteError`` for an argument that names nothing.
    """
    if a is None or staged:
        return list(_pairs_in_git(here, staged_versions, a, stack)), "in what is staged"
    if not here.names_a_cassette(a):
        read = functools.partial(read_versions, words=a)
        if (versions := read(_bases_of(here)[0])) is not None:
            return list(_pairs_in_git(here, read, b, stack)), versions.title
        _explain_no_cassette(here, a, is_alone=b is None)
    if b is None:
        here.find_one(a)  # raises if it is the name of several
        raise CassetteError(f"{a!r} is a cassette; to compare it, give a second one, or a revision")
    files_a, files_b = here.choose_files([a]), here.choose_files([b])
    title = f"between {a} and {b}"
    if len(files_a) == len(files_b) == 1:
        one, other = files_a[0], files_b[0]
        return [Pair(here.name_of(other), _loader(one), _loader(other), here.name_of(one))], title
    inside_a, inside_b = (_by_place(here, name, files) for name, files in ((a, files_a), (b, files_b)))
    places = sorted(inside_a.keys() | inside_b.keys())
    return [Pair(place, _loader(inside_a.get(place)), _loader(inside_b.get(place))) for place in places], title


def _explain_no_cassette(here: project.Project, name: str, *, is_alone: bool) -> None:
    """Raise ``CassetteError`` for a name of no cassette if it may have been meant as a revision of git."""
    try:
        refuse_unusable(_bases_of(here)[0])
    except CassetteError as obstacle:
        try:
            here.find_one(name)
        except AquilaError as error:
            sentence = str(error) if str(error).endswith("?") else f"{error}."
            raise CassetteError(f"{sentence} If it is a revision: {obstacle}") from error
    if is_alone and here.has_folder:
        raise CassetteError(f"{name!r} is neither a cassette in {project.list_folders(here.folders)} nor a revision")


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
    return Cassette if path is None else functools.partial(project.load_cassette, path)


def _pairs_in_git(
    here: project.Project, read: Callable[[Path], Versions | None], name: str | None, stack: ExitStack
) -> Iterator[Pair]:
    """Yield the cassettes that differ between two versions. ``read`` returns the versions for a folder."""
    now = here.list_cassettes() if here.has_folder else []
    is_found = name is None or here.names_a_cassette(name)
    for base in _bases_of(here):
        versions = read(base)
        if versions is None:
            raise CassetteError(f"the cassettes in {base} are in another repository, without this revision")
        reader = VersionReader(base, stack)
        for changed in list_changed_files(base, versions, now):
            before, after = (
                path if path is not None and _is_cassette(path, here) else None
                for path in (changed.before, changed.after)
            )
            paths = [path for path in (after, before) if path is not None]
            if not paths or not (name is None or any(here.is_named(path, name) for path in paths)):
                continue
            is_found = True
            old_name = "" if before is None or after in (None, before) else here.name_of(before)
            load_before, load_after = (
                _loader(path)
                if path is None or version == WORK_TREE
                else functools.partial(reader.load_version, version, path)
                for version, path in ((versions.before, before), (versions.after, after))
            )
            yield Pair(here.name_of(paths[0]), load_before, load_after, old_name)
    if name is not None and not is_found:
        here.choose_files([name])  # raises, because no cassette has this name


def _bases_of(here: project.Project) -> list[Path]:
    """Return the folders in which git is run: that of the project, and cassette folders outside of it."""
    outside = [folder for folder in here.folders if folder.is_dir() and not folder.is_relative_to(here.root)]
    return outside if len(outside) == len(here.folders) else [here.root, *outside]


def _is_cassette(path: Path, here: project.Project) -> bool:
    """Return whether a file, which may exist only in git, is a cassette, even if its whole folder was removed."""
    folder = here.folder_of(path) or next((up for up in path.parents if up.name in USUAL_NAMES), None)
    return folder is not None and cassette_files.is_cassette_name(path, folder)
