"""Finds the cassette folders and settings of a project, and the cassettes that command-line arguments name."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from aquila.cassettes.codecs import cassette_suffixes
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files, journal, large_bodies
from aquila.cassettes.storage.names import WORK_FOLDER, cassette_path
from aquila.cassettes.storage.regular_files import find_files, find_folders
from aquila.cli.cassettes.cassette_folders import USUAL_NAMES, can_be_read, find_cassette_folders, find_closed_folders
from aquila.config import SettingsLayers
from aquila.errors import AquilaError, CassetteError, CassetteNameError, ConfigError, reason_of
from aquila.plurals import count_of
from aquila.pytest_settings import find_project
from aquila.recording import runtime
from aquila.recording.storing.interrupted_runs import find_waiting_recordings, recover_journals
from aquila.shell_words import join_words
from aquila.spelling import find_nearest, suggest_name


class Project:
    """The cassette folders of a project.

    A cassette in the main folder, ``folder``, is named by its path there, without ``.yaml``. A cassette in another
    folder is named by its path below ``root``, the folder of the project. Commands also accept its path within its own
    folder, if no other cassette has the same. The lists of folders are read once, and kept as long as the object.
    """

    def __init__(self, root: Path, folder: Path, given: Sequence[Path] | None = None) -> None:
        """``folder`` is where pytest records.

        ``given``: the folders that the user named; no others are searched then.
        """
        self.root = root
        self.folder = folder
        self._given = given

    @functools.cached_property
    def folders(self) -> tuple[Path, ...]:
        """All cassette folders, first the main one, even if it does not exist.

        They are the folders that the user named, or those that are found below the folder of the project.
        """
        if self._given is not None:
            return tuple(dict.fromkeys(self._given))
        names = USUAL_NAMES | {self.folder.name}
        others = find_cassette_folders(self.root, names)
        inside = [other for other in others if not other.is_relative_to(self.folder)]
        return (self.folder, *(other for other in inside if not self.folder.is_relative_to(other)))

    @property
    def has_folder(self) -> bool:
        """Whether any cassette folder exists."""
        return any(folder.is_dir() for folder in self.folders)

    def folder_of(self, path: Path) -> Path | None:
        """Return the cassette folder in which a file is, or None for a file elsewhere."""
        absolute = path.absolute()
        if absolute.is_relative_to(self.folder):
            return self.folder
        around = [folder for folder in (absolute, *absolute.parents) if folder in self._order_of_folders]
        return min(around, key=self._order_of_folders.__getitem__, default=None)

    @functools.cached_property
    def _order_of_folders(self) -> dict[Path, int]:
        """The positions of ``folders``: a large project has hundreds, and each file is looked for in them."""
        return {folder: position for position, folder in enumerate(self.folders)}

    @functools.cached_property
    def folders_with_journals(self) -> dict[Path, None]:
        """The folders to which runs have recorded: each cassette folder, and folders within it that have journals."""
        found: dict[Path, None] = {}
        for folder in self.folders:
            if not can_be_read(folder):
                continue
            found[folder] = None
            found.update(dict.fromkeys(path.parent for path in find_folders(folder, WORK_FOLDER)))
        return found

    def list_interrupted(self) -> list[tuple[str, int]]:
        """Return the names of cassettes for which recordings of interrupted runs wait, each with their number."""
        return [
            (self.name_of(folder / name), count)
            for folder in self.folders_with_journals
            for name, count in find_waiting_recordings(folder)
        ]

    def store_interrupted(self, folder: Path) -> tuple[list[str], list[str]]:
        """Store what interrupted runs left in the journals of a folder. Return lines about it, and what failed."""
        if not journal.find_abandoned_journals(folder):
            return [], []
        recovered = recover_journals(folder)
        stored = [(self.name_of(path), count_of(count, "recording")) for path, count in recovered.cassettes]
        return [f"{name}: stored {number} of an interrupted run" for name, number in stored], recovered.failures

    def recording_folder_of(self, path: Path) -> Path:
        """Return the folder to which a run records a file: the innermost around it that has journals, and so locks."""
        absolute = path.absolute()
        around = (folder for folder in (absolute, *absolute.parents) if folder in self.folders_with_journals)
        return next(around, self.folder)

    def place_of(self, path: Path) -> Path | None:
        """Return the path of a file below the main folder; for a file of another cassette folder, below the project.

        None for a file elsewhere.
        """
        absolute = path.absolute()
        for folder in (self.folder, self.root):
            if absolute.is_relative_to(folder) and (folder == self.folder or self.folder_of(path) is not None):
                return absolute.relative_to(folder)
        return None

    def show_file(self, path: Path) -> str:
        """Return the place of a file as names of cassettes are written, with ``/`` on every system."""
        return (self.place_of(path) or path).as_posix()

    def name_of(self, path: Path) -> str:
        """Return the name of a cassette; for another file, its path."""
        place = self.place_of(path)
        return str(path) if place is None else _without_suffix(place, path)

    def names_of(self, path: Path) -> tuple[str, ...]:
        """Return the names of a cassette file: that of ``name_of``, and its path within its own folder.

        A msgpack file is also called without its suffix, as by its test, where no YAML file has that name.
        """
        folder = self.folder_of(path)
        names = [self.name_of(path)]
        if folder is not None and folder != self.folder:
            names.append(_without_suffix(path.absolute().relative_to(folder), path))
        names += [short for name in names if (short := shorten_name(name, path)) != name]
        return tuple(names)

    def list_cassettes(self) -> list[Path]:
        """Return all cassette files except pending ones, by folder, and folders within that cannot be read.

        Raises ``ConfigError`` if there is no cassette folder.
        """
        missing = [folder for folder in self._given or () if not folder.is_dir()]
        if missing or not self.has_folder:
            hint = (
                "name one that is there with --dir or AQUILA_CASSETTE_DIR"
                if missing
                else "aquila cassettes list says how to record. Another folder is named by --dir, AQUILA_CASSETTE_DIR, "
                "or aquila_cassette_dir in the pytest settings"
            )
            raise ConfigError(f"there is no cassette folder {[*missing, self.folder][0]}; {hint}")
        found: list[Path] = []
        for folder in self.folders:
            # An unreadable folder is listed like a cassette, so that each command reports it and fails.
            found += [*cassette_files.find_cassette_files(folder), *find_closed_folders(folder)]
        return found

    def list_pending(self) -> list[Path]:
        """Return the pending recordings, which failing tests left."""
        suffixes = cassette_suffixes()
        return [
            path
            for folder in self.folders
            for path in find_files(folder)
            if cassette_files.is_pending_file(path) and path.suffix in suffixes
        ]

    def choose_pending(
        self, names: Sequence[str], is_known: Callable[[str], object] = lambda name: False
    ) -> list[tuple[str, Path]]:
        """Return the pending recordings that ``names`` mean, each with the name of its cassette; all without names.

        A name for which nothing is pending is allowed if it ``is_known`` otherwise. Raises ``ConfigError`` if there is
        no cassette folder, and ``CassetteError`` for any other name, or if nothing was found and a folder cannot be
        read.
        """
        self.list_cassettes()
        pending = {path: cassette_files.cassette_of_pending(path) for path in self.list_pending()}
        closed = [] if pending else [inner for folder in self.folders for inner in find_closed_folders(folder)]
        if closed:
            raise CassetteError(f"{closed[0]} cannot be read, and may have pending recordings: make it readable")
        cassettes = list(dict.fromkeys(pending.values()))
        chosen = set() if names else set(cassettes)
        for name in names:
            named = self.choose_among(cassettes, name)
            if not named and not is_known(name):
                hint = self._hint_at_others(name, cassettes)
                raise CassetteError(f"no pending recording of {name!r} in {list_folders(self.folders)}{hint}")
            chosen.update(named)
        return [(self.name_of(cassette), path) for path, cassette in pending.items() if cassette in chosen]

    def _hint_at_others(self, name: str, pending: Sequence[Path]) -> str:
        """Return the end of a sentence about a name for which nothing is ``pending``: what else may be meant."""
        left = [each for each, _ in self.list_interrupted()]
        if name in left:
            return ", but an interrupted run has left some: `aquila cassettes accept`, without a name, stores them"
        return suggest_name(name, [*map(self.name_of, pending), *left]) if pending or left else "; nothing is pending"

    def choose_files(self, names: Sequence[str], *, of_any_kind: bool = False) -> list[Path]:
        """Return the files that arguments name, each once; all cassettes without an argument.

        A name is a file, a cassette, a folder of cassettes, or a pattern. ``of_any_kind`` says that the command takes
        other files than cassettes, too.

        Raises ``CassetteError`` for a name that fits no cassette, with similar names, and for a name that
        fits several.
        """
        if not names:
            return self.list_cassettes()
        found: dict[Path, Path] = {}
        for name in names:
            _check_is_given(name)
            named = self._find_exactly(name)
            if len(named) > 1:
                raise self._ambiguity(name, named)
            for path in named or self._find_fitting(name, of_any_kind=of_any_kind):
                found.setdefault(Path(os.path.abspath(path)), path)
        return list(found.values())

    def find_one(self, name: str) -> Path:
        """Return the one file that an argument names. Raises ``CassetteError`` if it names none or several."""
        _check_is_given(name)
        found = self._find_exactly(name) or self._find_fitting(name)
        if len(found) > 1:
            raise self._ambiguity(name, found)
        return found[0]

    def names_a_cassette(self, name: str) -> bool:
        """Return whether ``find_one`` or ``choose_files`` would find something."""
        try:
            return bool(self._find_exactly(name) or self._find_fitting(name))
        except AquilaError:
            return False

    def is_named(self, path: Path, name: str) -> bool:
        """Return whether ``name`` means the file ``path`` of a cassette folder; the file need not exist."""
        given = Path(name).absolute()
        if given in (path, *path.parents) or self.folder / name == path:
            return True
        return any(_fits(known, name) for known in self.names_of(path))

    def choose_among(self, paths: Iterable[Path], name: str) -> list[Path]:
        """Return those of ``paths``, files of cassette folders, that ``name`` means; they need not exist.

        Raises ``CassetteError`` if ``name`` is the name of several.
        """
        chosen = [path for path in paths if self.is_named(path, name)]
        called = [path for path in chosen if name in self.names_of(path)]
        own = [path for path in called if self.name_of(path) == name]
        if not own and len(called) > 1:
            raise self._ambiguity(name, called)
        return own or called or chosen

    def _ambiguity(self, name: str, found: Sequence[Path]) -> CassetteError:
        shown = ", ".join(map(self.name_of, found[:_SHOWN])) + (", …" if len(found) > _SHOWN else "")
        return CassetteError(f"{name!r} names {len(found)} cassettes; give one of them: {shown}")

    def _find_exactly(self, name: str) -> list[Path]:
        """Return the files with this path or name: none, one, or several with this name in different folders."""
        given = Path(name)
        if given.is_file():
            return [given]
        own = _existing_cassette(self.folder, name)
        if own is not None:
            return [own]
        for base in (Path.cwd(), self.root):
            path = _existing_cassette(base, name)
            if path is not None and self.folder_of(path) is not None:
                return [path]
        inside = [_existing_cassette(folder, name) for folder in self.folders[1:]]
        return [path for path in inside if path is not None]

    def _find_fitting(self, name: str, *, of_any_kind: bool = False) -> list[Path]:
        """Return the files that a pattern or a folder means. Raises ``CassetteError`` for none."""
        folder = Path(name).absolute() if Path(name).is_dir() else None
        try:
            files = self.list_cassettes()
        except ConfigError:  # the project has no cassettes, but the folder that was given may have some
            if (folder is None and not of_any_kind) or self._given is not None:
                raise
            files = []
        named = {path: self.names_of(path) for path in files}
        fitting = [path for path, known in named.items() if any(_fits(one, name) for one in known)]
        if not fitting and folder is not None:
            fitting = [path for path in files if path.is_relative_to(folder)]
            fitting = fitting or list(cassette_files.find_cassette_files(folder))
        if fitting:
            return fitting
        if folder is not None:
            raise CassetteError(f"no cassettes in {folder}")
        for base in self.folders:
            with contextlib.suppress(CassetteNameError):
                if os.path.isdir(path := cassette_path(base, name)):
                    raise CassetteError(f"{path} is a folder, not a cassette")
        what = f"there is no file {name!r}, and no cassette of that name" if of_any_kind else f"no cassette {name!r}"
        called = [known[0] for known in named.values()]
        raise CassetteError(f"{what} in {list_folders(self.folders)}{self._suggest_for(name, called)}")

    def _suggest_for(self, name: str, called: list[str]) -> str:
        """Return the end of the sentence about a name that fits none of the cassettes ``called`` so."""
        pending = {cassette_files.cassette_of_pending(path): self.name_of(path) for path in self.list_pending()}
        of_name = next((shown for path, shown in pending.items() if self.is_named(path, name)), None)
        if of_name is not None:
            return f"; did you mean {of_name!r}, the recordings that are pending?"
        if not any(sign in name for sign in "*?"):  # a pattern is similar to no name
            shown = {self.name_of(path): shown for path, shown in pending.items()} | {each: each for each in called}
            if near := _find_nearest_place(name, shown):
                return f"; did you mean {shown[near]!r}?"
        if len(called) > _SHOWN:
            return "; to see all: aquila cassettes list"
        return f"; known are {', '.join(sorted(called))}" if called else ""


def _find_nearest_place(name: str, called: Iterable[str]) -> str | None:
    """Return the most similar of the names of cassettes; before all, one that is it without its folder."""
    ends = {each.rpartition("/")[2]: each for each in called}
    return ends.get(name) or find_nearest(name, called) or ends.get(find_nearest(name, ends) or "")


def _check_is_given(name: str) -> None:
    """Raise ``CassetteError`` for an empty name, which would mean the current folder."""
    if not name.strip():
        raise CassetteError("the name of a cassette is empty; leave it out for all cassettes")


_SHOWN = 10
"""The greatest number of names in a message."""


def list_folders(folders: Sequence[Path]) -> str:
    """Return the name of the first of some folders, and how many others there are."""
    others = f" and {count_of(len(folders) - 1, 'other folder')}" if len(folders) > 1 else ""
    return f"{folders[0]}{others}"


def _without_suffix(place: Path, path: Path) -> str:
    # `birds.json` is another file where it still lies beside the `birds.json.yaml` that was converted from it.
    is_needed = place.suffix != ".yaml" or path.with_suffix("").is_file()
    return place.as_posix() if is_needed else place.with_suffix("").as_posix()


def shorten_name(name: str, path: Path) -> str:
    """Return the name of a file as its test has it: without ``.msgpack``, where no YAML file has that name."""
    is_needed = path.suffix != ".msgpack" or os.path.isfile(path.with_suffix(".yaml"))
    return name if is_needed else name.removesuffix(".msgpack")


def _existing_cassette(folder: Path, name: str) -> Path | None:
    with contextlib.suppress(CassetteNameError):
        path = cassette_path(folder, name)
        if os.path.isfile(path):  # unlike Path.is_file, it returns False for a folder without permission
            return path
    return None


def _fits(known: str, name: str) -> bool:
    """Return whether ``name`` is the name ``known``, that of a folder around it, or a pattern for it."""
    stem = name.rstrip("/")
    return known == stem or known.startswith(f"{stem}/") or fnmatch.fnmatchcase(known, name)


UNREADABLE = (AquilaError, OSError)
"""The exceptions of reading one file of many. A command prints ``describe_problem`` and continues."""


def describe_problem(path: Path, error: BaseException) -> str:
    """Return the reason of ``error``, with the path of the file."""
    reason = reason_of(error)
    return reason if str(path) in reason else f"{path}: {reason}"


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it cannot be read."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def load_cassette(path: Path) -> Cassette:
    """Read a cassette file.

    Raises ``CassetteCorrupt``, ``ConfigError`` for an unknown suffix, or ``CassetteError`` for a missing file.
    """
    try:
        return cassette_files.load_cassette(path)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise CassetteError(f"{path} is a symbolic link to a file that does not exist") from error
        raise CassetteError(f"{path} is not there any more") from error


def load_whole_cassette(path: Path) -> Cassette:
    """Read a cassette file, and check its large bodies. Raises like ``load_cassette``, also for a damaged body."""
    cassette = load_cassette(path)
    large_bodies.check_bodies(cassette)
    return cassette


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that all commands about cassettes have."""
    add_folders(parser)
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Declare ``--dir``."""
    parser.add_argument(
        "--dir",
        dest="folders",
        action="append",
        metavar="FOLDER",
        help="a cassette folder; can be given several times. By default AQUILA_CASSETTE_DIR, else aquila_cassette_dir "
        "of the pytest settings of this project (else cassettes) and all folders named cassettes in the project",
    )


def command_here(options: argparse.Namespace, *words: str) -> str:
    """Return a command of ``aquila cassettes`` with these words, for the folders that ``--dir`` has named."""
    folders = [word for folder in getattr(options, "folders", None) or () for word in ("--dir", folder)]
    return join_words(["aquila", "cassettes", *words, *folders])


@contextlib.contextmanager
def open_project(options: argparse.Namespace, *, start: Path | None = None) -> Iterator[Project]:
    """Apply the settings of a project for a block, and yield the project.

    ``start`` is a folder within the project, by default the current one.

    Raises ``ConfigError`` for settings that cannot be read.
    """
    root, ini = find_project(start or Path.cwd())
    if "" in (getattr(options, "folders", None) or ()):
        raise ConfigError("--dir is empty; leave it out for the folders of the project")
    given = [Path(os.path.abspath(folder)) for folder in getattr(options, "folders", None) or ()]
    command_line = {"cassette_dir": str(given[0])} if given else {}
    with runtime.Run(SettingsLayers(root=root, ini=ini, command_line=command_line)):
        folder = runtime.current_settings().cassette_root()
        if not given and os.environ.get("AQUILA_CASSETTE_DIR"):
            given = [folder]
        yield Project(root, folder, given or None)
