"""Moves cassettes to their new names after their test, module or folder was renamed.

``find_renames`` finds the files without changing anything; ``move_files`` moves them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aquila.cassettes.codecs import READ_ONLY_SUFFIXES, cassette_suffixes
from aquila.cassettes.storage import cassette_files, large_bodies, recorded_uses
from aquila.cassettes.storage.cassette_lock import hold_cassette_lock
from aquila.cassettes.storage.names import (
    SCRIPT_SUFFIX,
    WORK_FOLDER,
    candidate_paths,
    folder_of_module,
    is_script,
    name_of_file,
    name_of_test,
)
from aquila.cassettes.storage.regular_files import find_files
from aquila.cassettes.storage.work_folder import cassette_write_error
from aquila.errors import CassetteError

_PENDING = ".pending"


class Rename(NamedTuple):
    """A file, and its new path."""

    source: Path
    target: Path


class Renames(NamedTuple):
    """The files to move. ``unclear`` are files whose new name cannot be computed.

    Their names hold a hash of the whole name of a test with its parameters, from which that name cannot be read.
    ``is_cassette`` says that the names are those of a cassette, so that no test has a new id.
    """

    files: list[Rename]
    unclear: list[Path]
    is_cassette: bool = False


def find_renames(root: Path, old: str, new: str) -> Renames:
    """Return the files below the cassette folder ``root`` that belong to ``old``, with their new paths for ``new``.

    They are in an order in which they can be moved. Both names are ids of tests or classes, paths of modules, paths of
    folders of tests, or names of cassettes. Paths are relative to the root folder. Raises ``CassetteError`` if the two
    are equal, are of two kinds, or name a pending recording, and if one of the new files exists.
    """
    found = _find_files(root, old, new)
    _refuse_existing(found.files)
    return found._replace(files=_free_targets_first(found.files))


def _find_files(root: Path, old: str, new: str) -> Renames:
    if old.strip("/") == new.strip("/"):
        raise CassetteError(f"{old!r} is both the old and the new name, so nothing was moved")
    for each in (old, new):
        if each.endswith(_PENDING):
            raise CassetteError(
                f"{each!r} is a pending recording. Name its cassette: the pending recording moves with it"
            )
    kinds = [_kind_of(each) for each in (old, new)]
    if kinds[0] != kinds[1]:
        raise CassetteError(f"{old!r} is {kinds[0]} and {new!r} is {kinds[1]}; name two of one kind")
    if kinds[0] == "a test":
        return _renames_of_test(root, old, new)
    if kinds[0] == "a module":
        return _renames_of_folder(root, folder_of_module(old), folder_of_module(new), recursive=False)
    found = _renames_of_cassette(root, old, new)
    return (
        found._replace(is_cassette=True)
        if found.files
        else _renames_of_folder(root, old.strip("/"), new.strip("/"), recursive=True)
    )


def _kind_of(name: str) -> str:
    if "::" in name:
        return "a test"
    return "a module" if name.endswith(".py") else "a folder or a cassette"


def _renames_of_test(root: Path, old: str, new: str) -> Renames:
    """Return the files of a class, or of a test: with all its parameters, or only with those in ``old``."""
    whole = _renames_of_cassette(root, name_of_test(old), name_of_test(new))
    if old.endswith("]"):
        return whole
    found, unclear = list(whole.files), list(whole.unclear)
    known = {rename.source for rename in found}
    name = _inside(old)
    for path in _files_in(root / folder_of_module(old.partition("::")[0])):
        stem = _stem_of(path)
        if path in known or not stem.startswith((f"{name}-", f"{name}.", f"{name}+")):
            continue
        target = new_name(stem, old, new)
        if target is None:
            unclear.append(path)
        else:
            found.append(Rename(path, _with_name(root, target, path)))
    return Renames(found, unclear)


def new_name(stem: str, old: str, new: str) -> str | None:
    """Return the new name of a cassette of a test with parameters, or of a test or fixture in a class; None if unclear.

    ``stem`` is the file name without suffix; ``old`` and ``new`` are ids of the renamed test or class.
    """
    name = _inside(old)
    rest = stem[len(name) :]
    module = folder_of_module(new.partition("::")[0])
    if rest.startswith(".") and "@" in rest:  # a fixture of the class
        return f"{module}/{_inside(new)}{rest}" if "+" not in rest else None
    tests, dash, parameters = rest.partition("-")
    tail = tests.replace(".", "::") + (f"[{parameters}]" if dash else "")
    is_named = name_of_test(old + tail).rpartition("/")[2] == stem
    return name_of_test(new + tail) if is_named else None


def _inside(test: str) -> str:
    return test.partition("::")[2].replace("::", ".")


def _renames_of_cassette(root: Path, old: str, new: str) -> Renames:
    """Return the files of one cassette: in each form, and pending recordings."""
    found = []
    for source in candidate_paths(root, old):
        target = _in_form_of(source, candidate_paths(root, new)[0])
        for place, beside in ((source, target), tuple(map(cassette_files.pending_path, (source, target)))):
            if place.is_file():
                found.append(Rename(place, beside))
    return Renames(found, [])


def _in_form_of(source: Path, target: Path) -> Path:
    """Return ``target`` with the suffix of ``source``: a file in YAML or msgpack, or a script, stays what it is.

    A converted file of another recorder also keeps the suffix that is a part of its name.
    """
    name = target.name.removesuffix(SCRIPT_SUFFIX) if is_script(target) else target.stem
    if target.suffix in READ_ONLY_SUFFIXES and source.suffix != target.suffix:
        name = target.name
    return target.with_name(name + (SCRIPT_SUFFIX if is_script(source) else source.suffix))


def _renames_of_folder(root: Path, old: str, new: str, *, recursive: bool) -> Renames:
    """Return the files of a folder, and the cassettes of fixtures that are defined there.

    The name of such a cassette holds the path of the folder with dots. It may be in any folder.
    """
    candidate_paths(root, f"{new}/x")  # raises if the new folder leads out of the root
    dotted = re.compile(
        rf"@{re.escape(old.replace('/', '.'))}(?=\.|$)" if recursive else rf"@{re.escape(old.replace('/', '.'))}$"
    )
    found = []
    folder = root / old
    for path in _files_in(root, recursive=True):
        is_inside = path.is_relative_to(folder) and (recursive or path.parent == folder)
        place = root / new / path.relative_to(folder) if is_inside else path
        stem = _stem_of(path)
        renamed = stem[:1] + dotted.sub(lambda _: "@" + new.replace("/", "."), stem[1:]) if "@" in stem else stem
        target = place.with_name(path.name.replace(stem, renamed, 1))
        if str(target) != str(path):  # as text: paths of Windows are equal if they differ only in case
            found.append(Rename(path, target))
    return Renames(found, [])


def _files_in(folder: Path, *, recursive: bool = False) -> Iterator[Path]:
    """Yield the cassette files of a folder, including pending recordings."""
    for path in find_files(folder) if recursive else sorted(folder.glob("*")):
        if path.suffix in cassette_suffixes() and WORK_FOLDER not in path.parts and path.is_file():
            yield path


def _stem_of(path: Path) -> str:
    return path.stem.removesuffix(_PENDING)


def _with_name(root: Path, name: str, source: Path) -> Path:
    """Return the path of the cassette ``name``, with the suffix of ``source``, and pending if ``source`` is."""
    pending = _PENDING if source.stem.endswith(_PENDING) else ""
    return root / f"{name}{pending}{source.suffix}"


def move_files(root: Path, renames: Sequence[Rename]) -> None:
    """Move the files that ``find_renames`` has found, with their large bodies.

    Raises ``CassetteError`` if another process has moved or written one of them meanwhile, and ``CassetteWriteError``.
    """
    left: dict[Path, set[str]] = {rename.source.parent: set() for rename in renames}
    for rename in renames:
        first, second = sorted(rename)  # always in one order, so that two commands cannot deadlock
        try:
            # If only case changes on Windows, both paths are the same file, and so have the same lock.
            is_one = first.resolve() == second.resolve()
            with (
                hold_cassette_lock(first, root),
                contextlib.nullcontext() if is_one else hold_cassette_lock(second, root),
            ):
                left[rename.source.parent] |= _move_file(*rename)
        except OSError as error:
            raise cassette_write_error(rename.target, error) from error
    for folder, names in sorted(left.items(), reverse=True):
        _tidy(folder, root, names)


def _refuse_existing(renames: Sequence[Rename]) -> None:
    """Raise ``CassetteError`` if the new file of a cassette exists, in whatever format."""
    leaving = {rename.source for rename in renames}
    for _, target in renames:
        cassette = cassette_files.cassette_of_pending(target)
        forms = {cassette, cassette.with_suffix(".yaml"), cassette.with_suffix(".msgpack")}
        taken = [target] if cassette_files.is_pending_file(target) else sorted(forms)
        existing = next((form for form in taken if form.exists() and not _is_one_of(form, leaving)), None)
        if existing is not None:
            raise CassetteError(f"nothing was moved, because {existing} exists already. Remove it, or move it first")


def _is_one_of(path: Path, others: Collection[Path]) -> bool:
    """Whether an existing path is one of the others. If the file system ignores case, it may be in another case."""
    return path in others or any(_differs_in_case(path, other) for other in others)


def _differs_in_case(one: Path, other: Path) -> bool:
    """Whether two paths differ only in case and are the same file, because the file system ignores case.

    A link from one to the other does not count: renaming the file to the name of the link would leave a link to itself.
    """
    if str(one).casefold() != str(other).casefold():
        return False
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except FileNotFoundError:
        return False


def _free_targets_first(renames: Sequence[Rename]) -> list[Rename]:
    """Sort renames so that a file is moved away before another one gets its path, as in ``jobs`` to ``jobs/old``.

    Raises ``CassetteError`` if there is no such order.
    """
    waiting = dict(renames)
    ordered: list[Rename] = []
    while waiting:
        # On Windows, a target that differs from its source only in case is equal to it.
        free = [Rename(*each) for each in waiting.items() if each[1] == each[0] or each[1] not in waiting]
        if not free:
            names = ", ".join(sorted(path.name for path in waiting))
            raise CassetteError(f"nothing was moved, because these would take each other's place: {names}")
        ordered += free
        for rename in free:
            del waiting[rename.source]
    return ordered


def _move_file(source: Path, target: Path) -> set[str]:
    """Move a file, and return the names of its large bodies."""
    # Checked again under the locks: another command may have moved or written a file since `find_renames` looked.
    if not source.exists():
        raise CassetteError(f"{source} is gone: another process has moved or removed it")
    if target.exists() and not _differs_in_case(source, target):
        raise CassetteError(f"{target} was written by another process, so {source} stays where it is")
    target.parent.mkdir(parents=True, exist_ok=True)
    for one, other in zip(reversed(source.parents), reversed(target.parents), strict=False):
        if one.name != other.name and _differs_in_case(one, other):
            one.rename(other)  # only the case of a folder changes, and the file system ignores case
    if target.parent != source.parent and not _differs_in_case(target.parent, source.parent):
        large_bodies.share_bodies(source.read_bytes(), source, target)
    source.rename(target)
    return large_bodies.names_in(target.read_bytes())


def _tidy(folder: Path, root: Path, names: Collection[str]) -> None:
    """Remove the large bodies with these names if no other file refers to them, and empty folders up to ``root``."""
    with contextlib.suppress(OSError):  # leftovers only cost space; the error of the last `rmdir` is expected
        bodies = folder / large_bodies.BODIES_FOLDER
        for path in large_bodies.find_unused_bodies(folder):
            if path.parent == bodies and path.name in names:
                path.unlink()
        if bodies.is_dir():
            large_bodies.remove_folder_without_bodies(bodies)
        while folder != root and folder.is_relative_to(root):
            folder.rmdir()  # raises for one that is not empty
            folder = folder.parent


def rename_uses(root: Path, found: Renames, old: str, new: str) -> None:
    """Change the recorded uses of cassettes to the new names of the cassettes and the new ids of the tests.

    ``found`` is the result of ``find_renames`` for ``old`` and ``new``. Raises ``CassetteWriteError``.
    """
    new_names = {
        name_of_file(root, source): name_of_file(root, target)
        for source, target in found.files
        if not cassette_files.is_pending_file(source)
    }
    end = r"(?=$|\[|::)" if "::" in old or old.endswith(".py") else "(?=/)"
    pattern = re.compile(re.escape(old.rstrip("/")) + end)

    def rename_test(test: str) -> str:
        match = None if found.is_cassette else pattern.match(test)
        return new.rstrip("/") + test[match.end() :] if match else test

    recorded_uses.change_uses(
        root, lambda known: {(new_names.get(cassette, cassette), rename_test(test)) for cassette, test in known}
    )
    if found.files and not found.is_cassette and _kind_of(old) == "a folder or a cassette":
        _move_inner_uses(root, old.strip("/"), new.strip("/"))


def _move_inner_uses(root: Path, old: str, new: str) -> None:
    """Move the recorded uses of cassette folders within a folder that was renamed.

    In suites of pytest-recording each module has a cassette folder with its name, which is renamed with the module.
    """
    module = re.compile(rf"(?:^|(?<=/)){re.escape(old.rpartition('/')[2])}(?=\.py::)")
    name = new.rpartition("/")[2]
    for path in find_files(root / old):
        folder = root / new / path.parent.relative_to(root / old)
        if path.name == recorded_uses.USES_FILE and folder.is_dir():
            _move_uses(path.parent, folder, lambda test: module.sub(lambda _: name, test))
            _tidy(path.parent, root, ())


def _move_uses(source: Path, target: Path, rename_test: Callable[[str], str]) -> None:
    uses = recorded_uses.read_uses(source)
    recorded_uses.change_uses(target, lambda known: known | {(cassette, rename_test(test)) for cassette, test in uses})
    recorded_uses.change_uses(source, lambda known: known - uses)
