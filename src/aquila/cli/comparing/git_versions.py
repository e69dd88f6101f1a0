"""Reads from git which files differ between two versions of a project, and the cassettes of a version.

The large bodies of a cassette are copied from git into a temporary folder, from which they are read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.body_file import LFS_POINTER, NAME
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files, large_bodies
from aquila.errors import CassetteError
from aquila.shell_words import quote_word

INDEX = ""
"""The staged version. In git it is the empty text before a colon, as in ``:file``."""

_NAMED = re.compile(NAME.pattern.encode())


@dataclass(frozen=True, slots=True)
class Versions:
    """Two versions of a project: commits, or ``INDEX``. ``title`` is the range as the user wrote it."""

    before: str
    after: str
    title: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs: its paths in both versions.

    A path is None if the file does not exist in that version. The paths differ if the file was renamed.
    """

    before: Path | None
    after: Path | None


def read_versions(folder: Path, words: str) -> Versions | None:
    """Return the versions of a range such as ``main...HEAD``; None for words that are not a range.

    ``A...B`` compares B with the commit at which it left A, ``A..B`` with A itself. Raises ``CassetteError`` for an
    unknown revision.
    """
    match = re.fullmatch(r"([^\s:]*?)(\.{2,3})([^\s:.][^\s:]*|)", words)
    if match is None or words.startswith((".", "-", "/")) or "/.." in words:
        return None
    one, dots, other = match[1] or "HEAD", match[2], match[3] or "HEAD"
    before, after = (commit_of(folder, each) for each in (one, other))
    if dots == "...":
        found = _try_git(folder, "merge-base", before, after)
        if found is None:
            raise CassetteError(f"{one} and {other} have no commit in common here.{_advise_shallow(folder)}")
        before = found.decode().strip()
    return Versions(before, after, words)


def staged_versions(folder: Path) -> Versions:
    """Return the last commit and the staged version. Raises ``CassetteError``."""
    return Versions(commit_of(folder, "HEAD"), INDEX, "HEAD and what is staged")


def commit_of(folder: Path, name: str) -> str:
    """Return the commit that a revision names. Raises ``CassetteError``."""
    found = None if name.startswith("-") else _try_git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found is None:
        run_git(folder, "rev-parse", "--git-dir")  # raises outside of a repository
        if set(name) & set("~^@:"):  # relative to another revision: no branch that could be fetched
            raise CassetteError(f"git knows no revision {name!r} here.{_advise_shallow(folder)}")
        branch = name.removeprefix("origin/")
        fetch = f"git fetch origin {quote_word(branch)}"
        raise CassetteError(
            f"git knows no revision {name!r} here. If it is a branch of origin, fetch it: {fetch}; then compare "
            f"with origin/{branch}.{_advise_shallow(folder)}"
        )
    return found.decode().strip()


def _advise_shallow(folder: Path) -> str:
    """Return a sentence about a shallow clone, with a space before it; empty if the clone is not shallow."""
    found = _try_git(folder, "rev-parse", "--is-shallow-repository")
    return " This clone is shallow; fetch the rest: git fetch --unshallow" if found == b"true\n" else ""


def other_form(path: Path) -> Path | None:
    """Return the file of the same cassette in Aquila's other format; None for a file in neither."""
    suffix = {".yaml": ".msgpack", ".msgpack": ".yaml"}.get(path.suffix)
    return path.with_suffix(suffix) if suffix else None


def list_changed_files(folder: Path, versions: Versions) -> Iterator[ChangedFile]:
    """Yield the differing files below a folder, with their paths. Raises ``CassetteError``.

    A cassette that was converted to another format is one renamed file.
    """
    changed = list(_list_in_git(folder, versions))
    removed = {each.before for each in changed if each.after is None}
    converted = {
        other: each.after
        for each in changed
        if each.before is None and each.after is not None and (other := other_form(each.after)) in removed
    }
    yield from (each for each in changed if not ({each.before, each.after} & {*converted, *converted.values()}))
    yield from (ChangedFile(*each) for each in converted.items())


def _list_in_git(folder: Path, versions: Versions) -> Iterator[ChangedFile]:
    sides = ["--cached", versions.before] if versions.after == INDEX else [versions.before, versions.after]
    listed = run_git(folder, "diff", "--name-status", "-z", "-M", "--relative", "--no-ext-diff", *sides, "--", ".")
    words = iter(listed.decode("utf-8", "surrogateescape").split("\0"))
    # ``-z`` gives a status and a path, for renames and copies a status such as R087 and two paths.
    for status in words:
        if status[:1] in ("R", "C"):
            before = folder / next(words)
            yield ChangedFile(before if status[0] == "R" else None, folder / next(words))
        elif status:
            path = folder / next(words)
            yield ChangedFile(None if status == "A" else path, None if status == "D" else path)


def load_version(folder: Path, version: str, path: Path, scratch: Path) -> Cassette:
    """Return a cassette of a version. ``scratch`` is a folder that must exist until the cassette has been compared.

    Raises ``CassetteError`` for a missing or unreadable file, and for a pointer of Git LFS whose content is not here.
    """
    inside = path.relative_to(folder).as_posix()
    data = _read(folder, version, inside)
    copy = scratch / (version or "staged") / inside
    bodies = large_bodies.bodies_folder(copy)
    bodies.mkdir(parents=True, exist_ok=True)
    for name in {each.decode() for each in _NAMED.findall(data)}:
        place = large_bodies.bodies_folder(path) / name
        try:
            body = _read(folder, version, place.relative_to(folder).as_posix())
        except CassetteError:
            if not place.is_file():
                continue  # reading the cassette says that the body is missing
            body = place.read_bytes()  # the name has a hash of the content, so it is the same in every version
        (bodies / name).write_bytes(body)
    return cassette_files.read_version(data, copy, source=f"{version[:12] or 'what is staged'}:{inside}")


def _read(folder: Path, version: str, inside: str) -> bytes:
    """Return the content of a file in a version, also of one in Git LFS. Raises ``CassetteError``."""
    data = run_git(folder, "show", f"{version}:./{inside}")
    if data.startswith(LFS_POINTER):
        data = _try_git(folder, "cat-file", "--filters", f"{version}:./{inside}") or data
    if data.startswith(LFS_POINTER):
        where = f"{version[:12] or 'what is staged'}:{inside}"
        raise CassetteError(
            f"{where} is a pointer of Git LFS, and its content is not in this clone. Fetch it: git lfs install; "
            f"git lfs fetch origin {version}".rstrip()
        )
    return data


def _try_git(folder: Path, *arguments: str) -> bytes | None:
    """Run git and return what it prints, or None if it fails."""
    try:
        return run_git(folder, *arguments)
    except CassetteError:
        return None


def run_git(folder: Path, *arguments: str) -> bytes:
    """Run git in a folder and return what it prints. Raises ``CassetteError`` if it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True).stdout
    except OSError as error:
        if shutil.which("git") is None:
            raise CassetteError("git is not installed here, so versions in git cannot be compared") from error
        raise CassetteError(f"git cannot be run in {folder}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise CassetteError(f"git {arguments[0]} failed: {error.stderr.decode(errors='replace').strip()}") from error
