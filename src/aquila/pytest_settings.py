"""Reads the pytest settings of a project, without importing pytest, by pytest's own rules."""

from __future__ import annotations

import configparser
import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

from aquila import config
from aquila.errors import ConfigError
from aquila.option_parsing import OPTIONS

SETTINGS_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""The files in which pytest looks for its settings, in its order."""

_CACHE = ".pytest_cache"
# In setup.cfg, pytest ignores a section [pytest].
_SECTIONS = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}


def find_project(start: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of the nearest pytest settings, in ``start`` or above, and the settings of Aquila in them.

    Without pytest settings it is the folder that ``config.find_project_folder`` returns, and no settings.
    """
    for folder in (start, *start.parents):
        found = _read_settings_in(folder)
        if found is not None:
            return folder, found
    return config.find_project_folder(start, os.environ.get("AQUILA_CASSETTE_DIR") or "cassettes"), {}


def _read_settings_in(folder: Path) -> dict[str, str] | None:
    """Return the settings of Aquila in a folder, or None if it has no pytest settings. Raises ``ConfigError``."""
    for name in SETTINGS_FILES:
        found = _read_settings(folder / name)
        if found is not None:
            return {
                key.removeprefix("aquila_"): value
                for key, value in found.items()
                if key.startswith("aquila_") and _is_setting(key.removeprefix("aquila_"))
            }
    return None


def find_cache(folder: Path) -> Path:
    """Return the folder of pytest's cache of the project in ``folder``, whether it exists or not."""
    for name in SETTINGS_FILES:
        with contextlib.suppress(ConfigError):  # pytest itself reports a broken file
            found = _read_settings(folder / name)
            if found is not None:
                return folder / os.path.expandvars(os.path.expanduser(found.get("cache_dir") or _CACHE))
    return folder / _CACHE


def has_settings(path: Path) -> bool:
    """Whether pytest reads its settings from a file, or fails because it cannot be read."""
    try:
        return path.name in SETTINGS_FILES and _read_settings(path) is not None
    except ConfigError:
        return True


def find_settings_file(folder: Path) -> Path | None:
    """Return the file in a folder from which pytest reads its settings, or None."""
    return next(filter(has_settings, [folder / name for name in SETTINGS_FILES]), None)


def configured_folder(folder: Path) -> Path | None:
    """Return the cassette folder that the settings in a folder name; None without readable settings."""
    with contextlib.suppress(ConfigError):
        name = (_read_settings_in(folder) or {}).get("cassette_dir")
        return Path(os.path.abspath(folder / name)) if name else None
    return None


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
        parser.read_string(text.removeprefix("\ufeff"))  # which pytest takes in these files, too
    except (OSError, ValueError, RecursionError, configparser.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    section = _SECTIONS.get(path.name, "pytest")
    if parser.has_section(section):
        return {key: value.strip() for key, value in parser.items(section)}
    # pytest takes an empty pytest.ini or pytest.toml as its settings, but other files only with a section for it.
    return {} if path.name.endswith("pytest.ini") else None


def _read_toml_settings(content: dict[str, Any], name: str) -> dict[str, str] | None:
    holder = content if name.endswith("pytest.toml") else content.get("tool")
    table = holder.get("pytest") if isinstance(holder, dict) else None
    if not isinstance(table, dict):
        return {} if name.endswith("pytest.toml") else None
    options = table.get("ini_options")
    values = {**table, **(options if isinstance(options, dict) else {})}
    return {
        key: "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in values.items()
        if not isinstance(value, dict)
    }
