"""Find the project's cassette folder and settings, and the cassettes that command-line arguments name."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import difflib
import fnmatch
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquila import config
from aquila.cassettes.codecs import cassette_suffixes
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import cassette_path
from aquila.config import SettingsLayers
from aquila.errors import AquilaError, CassetteError, CassetteNameError, ConfigError, reason_of
from aquila.option_table import OPTIONS
from aquila.recording import runtime

_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""The files in which pytest looks for its settings, in the order in which it looks."""

_SECTIONS = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}


@dataclass(frozen=True, slots=True)
class Project:
    """The cassette folder of a project."""

    folder: Path

    def name_of(self, path: Path) -> str:
        """Return a cassette's name: its path below the folder without ``.yaml``. Other files have their path."""
        try:
            inside = path.absolute().relative_to(self.folder)
        except ValueError:
            return str(path)
        return inside.with_suffix("").as_posix() if path.suffix == ".yaml" else inside.as_posix()

    def list_cassettes(self) -> list[Path]:
        """Return all cassette files except pending ones, sorted. Raises ``ConfigError`` if there is no folder."""
        if not self.folder.is_dir():
            raise ConfigError(
                f"there is no cassette folder {self.folder}; name one with --dir, AQUILA_CASSETTE_DIR, or "
                "aquila_cassette_dir in the pytest settings"
            )
        return list(cassette_files.find_cassette_files(self.folder))

    def list_pending(self) -> list[Path]:
        """Return the pending recordings, which failing tests left."""
        return sorted(path for path in self.folder.rglob("*.pending.*") if path.suffix in cassette_suffixes())

    def choose_files(self, names: Sequence[str]) -> list[Path]:
        """Return the files that arguments name. No argument means all cassettes.

        A name is a file, a cassette, a folder of cassettes, or a pattern.

        Raises ``CassetteError`` for a name that fits no cassette, with the nearest names.
        """
        if not names:
            return self.list_cassettes()
        found: dict[Path, None] = {}
        for name in names:
            found.update(dict.fromkeys(self._find_named(name)))
        return list(found)

    def find_one(self, name: str) -> Path:
        """Return the one file that an argument names. Raises ``CassetteError`` for none or several."""
        found = self._find_named(name)
        if len(found) > 1:
            raise CassetteError(f"{name!r} names {len(found)} cassettes; give one of them")
        return found[0]

    def names_a_cassette(self, name: str) -> bool:
        """Say whether ``find_one`` or ``choose_files`` would find something."""
        try:
            return bool(self._find_named(name))
        except AquilaError:
            return False

    def is_named(self, path: Path, name: str) -> bool:
        """Say whether ``name`` means the file ``path`` of the cassette folder, which need not exist."""
        known, stem = self.name_of(path), name.rstrip("/")
        is_given = Path(name).absolute() == path or self.folder / name == path
        return is_given or known == stem or known.startswith(f"{stem}/") or fnmatch.fnmatchcase(known, name)

    def _find_named(self, name: str) -> list[Path]:
        given = Path(name)
        if given.is_file():
            return [given]
        with contextlib.suppress(CassetteNameError):
            path = cassette_path(self.folder, name)
            if path.is_file():
                return [path]
        files = self.list_cassettes()
        called = {self.name_of(path): path for path in files}
        stem = name.rstrip("/")
        fitting = [
            path for known, path in called.items() if fnmatch.fnmatchcase(known, name) or known.startswith(f"{stem}/")
        ]
        if not fitting:
            hint = config.suggest_name(name, called) if len(called) <= 10 or _has_near_match(name, called) else ""
            raise CassetteError(f"no cassette {name!r} in {self.folder}{hint}")
        return fitting


def _has_near_match(name: str, known: dict[str, Path]) -> bool:
    return bool(difflib.get_close_matches(name, known, n=1))


UNREADABLE = (AquilaError, OSError)
"""The exceptions of reading one file of many. A command prints ``describe_problem`` and goes on."""


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
    """Read a cassette file. Raises ``CassetteCorrupt``, ``ConfigError`` for an unknown suffix, and ``CassetteError``
    for a file that is not there.
    """
    try:
        return cassette_files.load_cassette(path)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise CassetteError(f"{path} is a symbolic link to a file that does not exist") from error
        raise CassetteError(f"{path} is not there any more") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that all commands about cassettes have."""
    parser.add_argument(
        "--dir",
        metavar="FOLDER",
        help="the cassette folder; by default AQUILA_CASSETTE_DIR, else aquila_cassette_dir of the pytest settings of "
        "this project, else cassettes",
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")


@contextlib.contextmanager
def open_project(options: argparse.Namespace, *, start: Path | None = None) -> Iterator[Project]:
    """Apply the settings of the project around a folder within the block, and yield the project.

    ``start`` is that folder, by default the current one.

    Raises ``ConfigError`` for settings that cannot be read.
    """
    root, ini = _find_project(start or Path.cwd())
    command_line = {"cassette_dir": os.path.abspath(options.dir)} if options.dir else {}
    with runtime.Run(SettingsLayers(root=root, ini=ini, command_line=command_line)):
        yield Project(runtime.current_settings().cassette_root())


def _find_project(start: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of the nearest pytest settings, in ``start`` or above, and the Aquila settings in them."""
    for folder in (start, *start.parents):
        for name in _FILES:
            found = _read_settings(folder / name)
            if found is not None:
                return folder, {
                    key.removeprefix("aquila_"): value
                    for key, value in found.items()
                    if key.startswith("aquila_") and _is_setting(key.removeprefix("aquila_"))
                }
    return start, {}


def _is_setting(name: str) -> bool:
    return name in OPTIONS and OPTIONS[name].ini


def _read_settings(path: Path) -> dict[str, str] | None:
    """Return the pytest settings of a file, or None if it has no section for pytest."""
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return _read_toml_settings(tomllib.loads(text), path.name)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(text)
    except (OSError, ValueError, configparser.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    section = _SECTIONS.get(path.name, "pytest")
    if parser.has_section(section):
        return {key: value.strip() for key, value in parser.items(section)}
    return {} if path.name.endswith("pytest.ini") else None


def _read_toml_settings(content: dict[str, Any], name: str) -> dict[str, str] | None:
    table: Any = content.get("pytest") if name.endswith("pytest.toml") else content.get("tool", {}).get("pytest")
    if not isinstance(table, dict):
        return {} if name.endswith("pytest.toml") else None
    values = {**table, **table.get("ini_options", {})}
    return {
        key: "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in values.items()
        if not isinstance(value, dict)
    }
