"""Cassettes as they were in git: which of them differ between two versions of a project, and their content there.

Content is copied into a folder, with the large bodies beside it, so that it is read as any cassette is.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.body_file import NAME
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files, large_bodies
from aquila.errors import CassetteError

INDEX = ""
"""The version that is staged, as git writes it before a colon."""

_NAMED = re.compile(NAME.pattern.encode())
_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Versions:
    """Two versions of a project: commits, or ``INDEX``. ``title`` is how a user calls both."""

    before: str
    after: str
    title: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs. A side in which it is not is None; the two differ if it was renamed."""

    before: Path | None
    after: Path | None


def read_versions(folder: Path, words: str) -> Versions | None:
    """Return what a range of git means, such as ``main...HEAD``; None for what is no range.

    ``A...B`` compares B with where it left A, ``A..B`` with A itself. Raises ``CassetteError`` for a revision that is
    not known here.
    """
    match = re.fullmatch(r"([^\s:]*?)(\.{2,3})([^\s:.][^\s:]*|)", words)
    if match is None or words.startswith((".", "-", "/")) or "/.." in words:
        return None
    one, dots, other = match[1] or "HEAD", match[2], match[3] or "HEAD"
    before, after = (_commit_of(folder, each) for each in (one, other))
    if dots == "...":
        found = _try_git(folder, "merge-base", before, after)
        if found is None:
            raise CassetteError(f"{one} and {other} have no commit in common here.{_advise_shallow(folder)}")
        before = found.decode().strip()
    return Versions(before, after, words)


def staged_versions(folder: Path) -> Versions:
    """Return the last commit, and what is staged on it. Raises ``CassetteError``."""
    return Versions(_commit_of(folder, "HEAD"), INDEX, "HEAD and what is staged")


def _commit_of(folder: Path, name: str) -> str:
    found = None if name.startswith("-") else _try_git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found is None:
        run_git(folder, "rev-parse", "--git-dir")  # raises outside of a repository
        branch = name.removeprefix("origin/")
        fetch = f"git fetch origin {shlex.quote(branch)}"
        raise CassetteError(
            f"git knows no revision {name!r} here. If it is a branch of origin, fetch it: {fetch}; then compare "
            f"with origin/{branch}.{_advise_shallow(folder)}"
        )
    return found.decode().strip()


def _advise_shallow(folder: Path) -> str:
    found = _try_git(folder, "rev-parse", "--is-shallow-repository")
    return " This clone is shallow; fetch the rest: git fetch --unshallow" if found == b"true\n" else ""


def list_changed_files(folder: Path, versions: Versions) -> Iterator[ChangedFile]:
    """Yield the files below a folder that differ, with their paths in it. Raises ``CassetteError``."""
    sides = ["--cached", versions.before] if versions.after == INDEX else [versions.before, versions.after]
    listed = run_git(folder, "diff", "--name-status", "-z", "-M", "--relative", "--no-ext-diff", *sides, "--", ".")
    words = iter(listed.decode("utf-8", "surrogateescape").split("\0"))
    for status in words:
        if status[:1] in ("R", "C"):
            before = folder / next(words)
            yield ChangedFile(before if status[0] == "R" else None, folder / next(words))
        elif status:
            path = folder / next(words)
            yield ChangedFile(None if status == "A" else path, None if status == "D" else path)


def load_version(folder: Path, version: str, path: Path, scratch: Path) -> Cassette:
    """Return a cassette as it is in a version. ``scratch`` is a folder that is left alone until it is compared.

    Raises ``CassetteError`` for what is not there, for a pointer of Git LFS, and for what cannot be read.
    """
    inside = path.relative_to(folder).as_posix()
    data = _read(folder, version, inside)
    copy = scratch / (version or "staged") / inside
    bodies = large_bodies.bodies_folder(copy)
    bodies.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(data)
    for name in {each.decode() for each in _NAMED.findall(data)}:
        place = large_bodies.bodies_folder(path) / name
        body = _try_git(folder, "show", f"{version}:./{place.relative_to(folder).as_posix()}")
        if body is None and place.is_file():
            body = place.read_bytes()
        if body is not None:
            (bodies / name).write_bytes(body)
    return cassette_files.load_cassette(copy)


def _read(folder: Path, version: str, inside: str) -> bytes:
    data = run_git(folder, "show", f"{version}:./{inside}")
    if data.startswith(_POINTER):
        data = _try_git(folder, "cat-file", "--filters", f"{version}:./{inside}") or data
    if data.startswith(_POINTER):
        where = f"{version[:12] or 'what is staged'}:{inside}"
        raise CassetteError(
            f"{where} is a pointer of Git LFS, and what it points to is not here. Fetch it: git lfs install; "
            f"git lfs fetch origin {version}".rstrip()
        )
    return data


def _try_git(folder: Path, *arguments: str) -> bytes | None:
    try:
        return run_git(folder, *arguments)
    except CassetteError:
        return None


def run_git(folder: Path, *arguments: str) -> bytes:
    """Run git in a folder and return what it prints. Raises ``CassetteError`` if it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True).stdout
    except OSError as error:
        raise CassetteError(f"git cannot be run in {folder}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise CassetteError(f"git {arguments[0]} failed: {error.stderr.decode(errors='replace').strip()}") from error
