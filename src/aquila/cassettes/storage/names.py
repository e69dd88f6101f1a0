"""Turns the name of a cassette into its file, and a test or a fixture into the name of its cassette."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

from aquila.cassettes.codecs import cassette_suffixes
from aquila.errors import CassetteNameError

_UNSAID = (".yaml", ".msgpack")
"""The suffixes that are tried for a name without one."""
_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f]+')
_LONGEST = 160
"""Bytes of a file's name before its suffix. File systems allow 255, with a suffix such as ``.pending.yaml``."""


def cassette_path(root: Path, name: str) -> Path:
    """Return the file of the cassette ``name`` below the folder ``root``.

    A name is a relative path with ``/``; without a suffix it is a ``.yaml`` file, or the ``.msgpack`` file if only
    that one exists. Raises ``CassetteNameError`` for a name that is empty, absolute or leaves the folder.
    """
    readable, *others = candidate_paths(root, name)
    # By `os.path`: a run asks for every test, and `Path` takes several times as long.
    return next((path for path in others if os.path.exists(path) and not os.path.exists(readable)), readable)


def candidate_paths(root: Path, name: str) -> tuple[Path, ...]:
    """Return the files that may be the cassette ``name``, the first of them by default. Raises like ``cassette_path``.

    The disk is not read.
    """
    return _candidate_paths(root, name if isinstance(name, str) else "")


@lru_cache(maxsize=1024)
def _candidate_paths(root: Path, name: str) -> tuple[Path, ...]:
    # Taken apart by hand: with `Path` this is the slowest step between a test and its cassette.
    spelt = name.replace("\\", "/")
    parts = [part for part in spelt.split("/") if part not in ("", ".")]
    is_absolute = spelt.startswith("/")
    if not (parts or is_absolute) or not name.strip() or "\x00" in name:
        raise CassetteNameError(f"cassette name {name!r} is empty; give a name such as 'jobs/generate_summary'")
    if is_absolute or re.match(r"[A-Za-z]:", parts[0]):
        raise CassetteNameError(
            f"cassette name {name!r} is absolute; give a name relative to the cassette folder {root}"
        )
    if ".." in parts:
        raise CassetteNameError(f"cassette name {name!r} leaves the cassette folder {root}; remove the '..'")
    path = os.path.join(root, *parts)
    stem, dot, suffix = parts[-1].rpartition(".")
    if stem and suffix and dot + suffix in cassette_suffixes():  # a name seldom has one: plugins need not be asked
        return (Path(path),)
    return tuple(Path(path + suffix) for suffix in _UNSAID)


def name_of_test(test: str) -> str:
    """Return the cassette name of a test: ``<module path>/[Class.]test[param]``.

    ``test`` is pytest's id of the test, with the path of its module relative to the root folder; a module outside
    begins with ``..``. In the test's own part, characters that some file system forbids become ``-`` and an over-long
    name is cut; either way a hash of the original follows, so that two tests never share a name.
    """
    module, _, inside = test.partition("::")
    name = _join_with_dots(inside)
    is_like_a_fixture = re.match(r"(?:[^\[]*\.)?@", name) is not None
    return "/".join([*_folders_of(module), _name_with_hash(name) if is_like_a_fixture else _file_name(name)])


def name_of_fixture(fixture: str, *, defined: str, within: str | None = None) -> str:
    """Return the cassette name of a fixture that several tests share: ``<module path>/[Class.]@fixture``.

    ``fixture`` is its name, with its parameter. ``defined`` is the id of the module, the class or the ``conftest.py``
    that defines it; that of a plugin is the name of its Python module after ``@``. ``within`` is the id of the module
    or the class that the fixture is set up for; without one it is set up for the whole run, or for the package that
    defines it. A fixture may override another of its name and request it too: both have ``within`` in common, so where
    ``defined`` differs from it, the name has both.
    """
    place = within or defined
    module, _, inside = place.partition("::")
    folders = ("@plugins", _file_name(module[1:])) if module.startswith("@") else _folders_of(module)
    name = _join_with_dots(f"{inside}::@{fixture}" if inside else f"@{fixture}")
    if defined != place:
        path, _, owner = defined.partition("::")
        # The places that define the fixtures of one test contain each other, so two never get the same name with dots.
        name += "@" + ".".join(
            filter(None, [*([path] if path.startswith("@") else _folders_of(path)), _join_with_dots(owner)])
        )
    return "/".join([*folders, _file_name(name)])


def _join_with_dots(inside: str) -> str:
    """Return the names within a module, joined with dots. Parameters in brackets stay as they are."""
    name, bracket, parameters = inside.partition("[")
    return name.replace("::", ".") + bracket + parameters


@lru_cache(maxsize=256)
def _folders_of(module: str) -> tuple[str, ...]:
    """Return the folders of a module's cassettes. Those that begin with ``@`` are Aquila's; ``@up`` means ``..``."""
    if not module:
        return ()
    folders = []
    for part in PurePosixPath(module.replace("\\", "/")).with_suffix("").parts:
        if part == "..":
            folders.append("@up")
        elif re.fullmatch(r"[A-Za-z]:", part):  # a module on another drive has its whole path
            folders.append(f"@{part[0]}")
        elif part != "/":
            folders.append(_name_with_hash(part) if part.startswith("@") else part)
    return tuple(folders)


def _file_name(text: str) -> str:
    clean = _FORBIDDEN.sub("-", text).strip(" ")
    if not clean or clean.endswith(cassette_suffixes()) or clean.startswith("."):
        clean = f"-{clean}-"
    encoded = clean.encode("utf-8", "surrogateescape")
    if clean == text and len(encoded) <= _LONGEST:
        return clean
    return _name_with_hash(text, clean)


def _name_with_hash(text: str, clean: str | None = None) -> str:
    """Return a name with a hash of ``text``, so that no other text has it."""
    encoded = (_FORBIDDEN.sub("-", text) if clean is None else clean).encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return encoded[: _LONGEST - len(digest) - 1].decode(errors="ignore") + "-" + digest
