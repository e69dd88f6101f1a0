"""Reads from git which files differ between two versions of a project, and the cassettes of a version.

The large bodies of a cassette are copied from git into a temporary folder, from which they are read.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from aquila.cassettes.body_file import LFS_POINTER, NAME
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files, large_bodies
from aquila.errors import CassetteError
from aquila.shell_words import quote_word
from aquila.temporary_folders import TemporaryFolder

INDEX = ""
"""The staged version. In git it is the empty text before a colon, as in ``:file``."""
WORK_TREE = "-"
"""The files as they are now. No revision begins so."""

_NAMED = re.compile(NAME.pattern.encode())


@dataclass(frozen=True, slots=True)
class Versions:
    """Two versions of a project: commits, ``INDEX``, or ``WORK_TREE``. ``title`` says what is compared."""

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
    """Return the versions that a revision or a range such as ``main...HEAD`` means; None for words that are neither.

    A revision is compared with the files as they are. ``A...B`` compares B with the commit at which it left A, ``A..B``
    with A itself. Raises ``CassetteError`` for an unknown revision in a range.
    """
    match = re.fullmatch(r"([^\s:]*?)(\.{2,3})([^\s:.][^\s:]*|)", words)
    if match is None or words.startswith((".", "-", "/")) or "/.." in words:
        try:
            return Versions(commit_of(folder, words), WORK_TREE, f"since {words}")
        except CassetteError:
            return None
    one, dots, other = match[1] or "HEAD", match[2], match[3] or "HEAD"
    before, after = (commit_of(folder, each) for each in (one, other))
    if dots == "...":
        found = _try_git(folder, "merge-base", before, after)
        if found is None:
            raise CassetteError(f"{one} and {other} have no commit in common here.{_advise_shallow(folder)}")
        before = found.decode().strip()
    return Versions(before, after, f"in {words}")


def staged_versions(folder: Path) -> Versions:
    """Return the last commit and the staged version. Raises ``CassetteError``."""
    return Versions(commit_of(folder, "HEAD"), INDEX, "in what is staged")


def commit_of(folder: Path, name: str) -> str:
    """Return the commit that a revision names. Raises ``CassetteError``."""
    found = None if name.startswith("-") else _try_git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found is None:
        refuse_unusable(folder)
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


def _other_form(path: Path) -> Iterator[Path]:
    """Yield the file of the same cassette in Aquila's other format, if it has one."""
    suffix = {".yaml": ".msgpack", ".msgpack": ".yaml"}.get(path.suffix)
    if suffix:
        yield path.with_suffix(suffix)


def list_changed_files(folder: Path, versions: Versions, now: Iterable[Path]) -> Iterator[ChangedFile]:
    """Yield the differing files below a folder, with their paths. Raises ``CassetteError``.

    ``now`` are the files as they are, of which git may not know some; those of submodules are left out. A cassette that
    was converted to another format is one renamed file.
    """
    changed = list(_list_in_git(folder, versions))
    if versions.after == WORK_TREE:
        known = {folder / inside for inside in _split(run_git(folder, "ls-files", "-z", "--", ".")) if inside}
        # A folder that git knows by its name is a submodule, whose files have versions of their own.
        unknown = [path for path in now if path.is_relative_to(folder) and known.isdisjoint((path, *path.parents))]
        changed += [ChangedFile(None, path) for path in unknown]
    removed = {each.before for each in changed if each.after is None}
    moved: dict[Path, Path] = {}
    for each in changed:
        if each.before is None and each.after is not None:
            moved |= {old: each.after for old in (each.after, *_other_form(each.after)) if old in removed}
    yield from (each for each in changed if not ({each.before, each.after} & {*moved, *moved.values()}))
    yield from (ChangedFile(*each) for each in moved.items())


def _list_in_git(folder: Path, versions: Versions) -> Iterator[ChangedFile]:
    sides = {INDEX: ["--cached", versions.before], WORK_TREE: [versions.before]}
    compared = sides.get(versions.after, [versions.before, versions.after])
    listed = run_git(folder, "diff", "--name-status", "-z", "-M", "--relative", "--no-ext-diff", *compared, "--", ".")
    words = iter(_split(listed))
    # ``-z`` gives a status and a path, for renames and copies a status such as R087 and two paths.
    for status in words:
        if status[:1] in ("R", "C"):
            before = folder / next(words)
            yield ChangedFile(before if status[0] == "R" else None, folder / next(words))
        elif status:
            path = folder / next(words)
            yield ChangedFile(None if status == "A" else path, None if status == "D" else path)


def _split(listed: bytes) -> list[str]:
    return os.fsdecode(listed).split("\0")


class VersionReader:
    """Reads cassettes of versions below a folder, all with one process of git, which ``stack`` ends.

    ``stack`` also removes the folder of large bodies, so it must be open until the cassettes have been compared.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack

    @functools.cached_property
    def _scratch(self) -> Path:
        return Path(self._stack.enter_context(TemporaryFolder("diff")))

    @functools.cached_property
    def _git(self) -> subprocess.Popen[bytes]:
        command = ["git", "cat-file", "--batch"]
        pipe = subprocess.PIPE
        return self._stack.enter_context(subprocess.Popen(command, cwd=self._folder, stdin=pipe, stdout=pipe))

    def load_version(self, version: str, path: Path) -> Cassette:
        """Return a cassette of a version.

        Raises ``CassetteError`` for a missing or unreadable file, and for a pointer of Git LFS whose content is not
        here.
        """
        source = f"{version[:12] or 'what is staged'}:{path.relative_to(self._folder).as_posix()}"
        data = self._read(version, path)
        if data is None:
            in_conflict = "" if version else "; a file in conflict has no staged version before it is added"
            raise CassetteError(f"git cannot read {source}{in_conflict}")
        if data.startswith(LFS_POINTER):
            raise CassetteError(
                f"{source} is a pointer of Git LFS, and its content is not in this clone. Fetch it: git lfs install; "
                f"git lfs fetch origin {version}".rstrip()
            )
        copy = self._scratch / (version or "staged") / path.relative_to(self._folder)
        bodies = large_bodies.bodies_folder(copy)
        bodies.mkdir(parents=True, exist_ok=True)
        for name in {each.decode() for each in _NAMED.findall(data)}:
            place = large_bodies.bodies_folder(path) / name
            body = self._read(version, place)
            if (body is None or body.startswith(LFS_POINTER)) and place.is_file():
                body = place.read_bytes()  # the name has a hash of the content, so it is the same in every version
            if body is not None:  # else reading the cassette says that the body is missing
                (bodies / name).write_bytes(body)
        return cassette_files.read_version(data, copy, source=source)

    def _read(self, version: str, path: Path) -> bytes | None:
        """Return the content of a file in a version, also of one in Git LFS; None if it cannot be read."""
        name = f"{version}:./{path.relative_to(self._folder).as_posix()}"
        if "\n" in name or self._git.stdin is None or self._git.stdout is None:
            return None
        self._git.stdin.write(os.fsencode(f"{name}\n"))
        self._git.stdin.flush()
        size = self._git.stdout.readline().rpartition(b" ")[2]  # "HASH blob SIZE", or "NAME missing"
        if not size.strip().isdigit():
            return None
        data = self._git.stdout.read(int(size))
        self._git.stdout.read(1)  # a line end
        if data.startswith(LFS_POINTER):
            data = _try_git(self._folder, "cat-file", "--filters", name) or data
        return data


def refuse_unusable(folder: Path) -> None:
    """Raise ``CassetteError`` with git's reason if a folder is in no repository, or in one that git does not trust."""
    run_git(folder, "rev-parse", "--git-dir")


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
            raise CassetteError("git is not installed here") from error
        raise CassetteError(f"git cannot be run in {folder}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise CassetteError(f"git {arguments[0]} failed: {error.stderr.decode(errors='replace').strip()}") from error
