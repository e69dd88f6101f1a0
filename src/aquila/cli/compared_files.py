"""Chooses what ``aquila cassettes diff`` compares: two cassettes, two folders, or versions of one in git."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.cli import project
from aquila.errors import CassetteError


class Pair(NamedTuple):
    """Two cassettes to compare. ``name`` is what is said about them if there are several pairs."""

    name: str
    load_a: Callable[[], Cassette]
    load_b: Callable[[], Cassette]


def choose_pairs(here: project.Project, a: str, b: str | None) -> list[Pair]:
    """Return the pairs that the arguments mean. Raises ``CassetteError`` for one that names nothing.

    If ``a`` names no cassette but a revision of git, the cassettes that ``b`` names (all without it) are compared with
    their versions in that revision.
    """
    known = here.names_a_cassette(a)
    if not known and _is_revision(here.folder, a):
        return _pairs_with_revision(here, a, b)
    if b is None:
        here.find_one(a)  # raises what is wrong with it, if it is not there
        raise CassetteError(f"{a!r} is a cassette: with what shall it be compared? Give a second one, or a revision")
    files_a, files_b = here.choose_files([a]), here.choose_files([b])
    if len(files_a) == len(files_b) == 1:
        return [Pair("", *(_loader(path) for path in (files_a[0], files_b[0])))]
    inside_a, inside_b = (_by_place(here, name, files) for name, files in ((a, files_a), (b, files_b)))
    places = sorted(inside_a.keys() | inside_b.keys())
    return [Pair(place, _loader(inside_a.get(place)), _loader(inside_b.get(place))) for place in places]


def _by_place(here: project.Project, name: str, files: list[Path]) -> dict[str, Path]:
    """Return the files of a folder by their places in it. Raises ``CassetteError`` for what is no folder."""
    prefix = f"{name.rstrip('/')}/"
    names = {here.name_of(path): path for path in files}
    if not all(known.startswith(prefix) for known in names):
        raise CassetteError(f"{name!r} is no folder of cassettes; compare one with one, or a folder with a folder")
    return {known.removeprefix(prefix): path for known, path in names.items()}


def _loader(path: Path | None) -> Callable[[], Cassette]:
    return lambda: Cassette() if path is None else project.load_cassette(path)


def _pairs_with_revision(here: project.Project, revision: str, name: str | None) -> list[Pair]:
    listed = _git(here.folder, "ls-tree", "-r", "-z", "--name-only", revision, "--", ".").decode(errors="replace")
    then = {here.folder / inside for inside in listed.split("\0") if inside}
    paths = {path for path in then | set(here.list_cassettes()) if cassette_files.is_cassette_name(path, here.folder)}
    chosen = sorted(path for path in paths if name is None or here.is_named(path, name))
    if not chosen:
        raise CassetteError(f"no cassette {name!r} in {here.folder}, neither now nor in {revision}")
    return [
        Pair(
            here.name_of(path),
            _version_loader(here.folder, revision, path) if path in then else Cassette,
            _loader(path if path.is_file() else None),
        )
        for path in chosen
    ]


def _version_loader(folder: Path, revision: str, path: Path) -> Callable[[], Cassette]:
    def load() -> Cassette:
        inside = path.relative_to(folder).as_posix()
        data = _git(folder, "show", f"{revision}:./{inside}")
        return cassette_files.read_version(data, path, source=f"{revision}:{inside}")

    return load


def _is_revision(folder: Path, name: str) -> bool:
    if name.startswith("-"):
        return False
    try:
        _git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except CassetteError:
        return False
    return True


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True).stdout
    except OSError as error:
        raise CassetteError(f"git cannot be run in {folder}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise CassetteError(f"git {arguments[0]} failed: {error.stderr.decode(errors='replace').strip()}") from error
