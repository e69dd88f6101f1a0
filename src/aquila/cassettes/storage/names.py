"""Turns the name of a cassette into its file, and a test or a fixture into the name of its cassette."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NoReturn

from aquila.cassettes.codecs import READ_ONLY_SUFFIXES, cassette_suffixes
from aquila.errors import CassetteNameError
from aquila.lazy_patterns import lazy_pattern

SCRIPT_SUFFIX = ".script.yaml"
"""The ending of scripts: files with answers that were written by hand. They are found by name, like cassettes."""
_DEFAULT_SUFFIXES = (".yaml", ".msgpack", SCRIPT_SUFFIX)
"""The suffixes that are tried for a name without a suffix."""
WORK_FOLDER = ".journal"
"""The folder below the cassette folder for journals and locks. A ``.gitignore`` in it keeps it out of git."""
_NAME = lazy_pattern(r"(?:\w+\.)*@?\w+")
"""The names of tests and fixtures within a module that become a file name without a change."""
_PARAMETERS = r"[a-z0-9_.-]*"
"""Parameters that become part of a file name without a change. They have no character that is special to a shell or a
file system, and no capitals, because some file systems do not distinguish them from small letters."""
_PLACE = r"@[\w.@-]+"
_CONTROL = lazy_pattern(r"[\x00-\x1f\x7f]")
_DRIVE = lazy_pattern("[A-Za-z]:")
_UNSAFE = r"[^\w.@-]+"
_ENDS_OF_OTHER_FILES = (".pending",)
_DIGITS = 12
"""Hexadecimal digits of a hash in a name: 48 bits, because all tests of a module may share the readable rest."""
_LONGEST = 160
"""The most bytes of a file name, without its suffix, that is made from the name of a test."""
_LONGEST_GIVEN = 200
"""The most bytes of each part of a name that a user gives. File systems allow 255, and Aquila adds some to write it."""
_SHOWN = 60
"""How many characters of a name that is too long a message shows."""
_LONGEST_NAME = 1000
"""The most bytes of a whole name. Systems allow 1024 to 4096 for a path."""


def cassette_path(root: Path, name: str) -> Path:
    """Return the file of the cassette ``name`` below the folder ``root``.

    A name is a relative path with ``/``. A name without a suffix means the ``.yaml`` file, or, if only that exists, the
    ``.msgpack`` file or the script. Raises ``CassetteNameError`` for a name that is empty, too long or absolute, leaves
    the folder, has a control character, or is in the folder of Aquila's journals.
    """
    return _to_path(cassette_file(root, name))


def names_script(root: Path, name: str) -> bool:
    """Whether the file of a cassette has answers that were written by hand. Raises like ``cassette_path``."""
    return is_script(cassette_file(root, name))


def cassette_file(root: Path, name: str) -> str:
    """Return ``cassette_path`` as text. Raises like ``cassette_path``."""
    # Text and `os.access`, because a run calls this twice for every test. `Path` takes several times as long, and so
    # does the exception within `os.path.exists` for a missing file, which is the usual case.
    readable, *others = _candidate_files(root, name if isinstance(name, str) else _refuse_name(name))
    if not others or _is_there(readable):  # nearly always
        return readable
    return next((file for file in others if _is_there(file)), readable)


def _is_there(file: str) -> bool:
    try:
        return os.access(file, os.F_OK)
    except ValueError:  # a name with a NUL, which no file can have
        return False


def _refuse_name(name: object) -> NoReturn:
    kind = type(name).__name__
    raise CassetteNameError(f"a cassette name is a text such as 'jobs/generate_summary', and this is of type {kind}")


def is_script(path: str | Path) -> bool:
    """Whether a file has answers that were written by hand."""
    return os.fspath(path).endswith(SCRIPT_SUFFIX)


def candidate_paths(root: Path, name: str) -> tuple[Path, ...]:
    """Return the files that may be the cassette ``name``, without reading the disk. Raises like ``cassette_path``.

    The first is the default, if no file exists.
    """
    return tuple(map(_to_path, _candidate_files(root, name if isinstance(name, str) else _refuse_name(name))))


def folder_of_cassette(root: Path, name: str) -> str:
    """Return the folder of all files that may be the cassette ``name``. Raises like ``cassette_path``."""
    return os.path.dirname(_candidate_files(root, name)[0])


def _to_path(file: str) -> Path:
    return _make_path(Path, file)


# The caches of this module hold results of pure functions. Suffixes of plugins matter only for names with a suffix. The
# class is part of the key, because pyfakefs puts another in its place, whose paths are of no use after the test.
@lru_cache(maxsize=64)  # a test asks several times for its own cassette, and seldom for another one
def _make_path(kind: type[Path], file: str) -> Path:
    return kind(file)


@lru_cache(maxsize=64)
def _candidate_files(root: Path, name: str) -> tuple[str, ...]:
    # Split by hand: with `Path` this would be the slowest step between a test and its cassette.
    spelt = name.replace("\\", "/")
    parts = [part for part in spelt.split("/") if part not in ("", ".")]
    is_absolute = spelt.startswith("/")
    if not (parts or is_absolute) or not name.strip():
        raise CassetteNameError(f"cassette name {name!r} is empty; give a name such as 'jobs/generate_summary'")
    if is_absolute or _DRIVE.match(parts[0]):
        raise CassetteNameError(
            f"cassette name {name!r} is absolute; give a name relative to the cassette folder {root}"
        )
    if ".." in parts:
        raise CassetteNameError(f"cassette name {name!r} leaves the cassette folder {root}; remove the '..'")
    _check_parts(name, parts)
    path = os.path.join(root, os.sep.join(parts))
    named = tuple([path + suffix for suffix in _DEFAULT_SUFFIXES])
    stem, dot, suffix = parts[-1].rpartition(".")
    if stem and suffix and dot + suffix in cassette_suffixes():  # most names have no dot, so plugins are not asked
        # A converted file of another recorder has its suffix in the name, and its test goes on naming that file.
        return (path, *named) if dot + suffix in READ_ONLY_SUFFIXES else (path,)
    return named


def name_of_file(root: Path, path: Path) -> str:
    """Return the name of the cassette in a file below ``root``: the path relative to ``root``, without ``.yaml``."""
    inside = path.relative_to(str(root))  # as text: only one of the two may be a path of pyfakefs
    return (inside.with_suffix("") if path.suffix == ".yaml" else inside).as_posix()


def _check_parts(name: str, parts: Sequence[str]) -> None:
    """Raise ``CassetteNameError`` for a name that no file can have, or that is in Aquila's own folder."""
    if _CONTROL.search(name):
        raise CassetteNameError(f"cassette name {name[:_SHOWN]!r} has a control character; remove it")
    if (len(name) > _LONGEST_GIVEN or not name.isascii()) and _is_too_long(parts):
        raise CassetteNameError(
            f"cassette name {name[:_SHOWN]!r}... is too long: at most {_LONGEST_GIVEN} bytes between two slashes, and "
            f"{_LONGEST_NAME} in all"
        )
    if name_on_this_system(name) != name:
        raise CassetteNameError(
            f"cassette name {name!r} cannot be the name of a file here, where such names are encoded in "
            f"{sys.getfilesystemencoding()}; give another name, or run Python with PYTHONUTF8=1"
        )
    if WORK_FOLDER in map(str.lower, parts):  # in lower case, because not every file system tells the cases apart
        raise CassetteNameError(f"cassette name {name!r}: the folder {WORK_FOLDER} is Aquila's own; give another name")


def _is_too_long(parts: Sequence[str]) -> bool:
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    return max(sizes) > _LONGEST_GIVEN or sum(sizes) + len(sizes) > _LONGEST_NAME


def name_on_this_system(name: str) -> str:
    """Return the name under which this process finds a cassette that another process has named.

    A process whose file names are in ASCII sees a name of a process with UTF-8 in another spelling, with surrogates.
    """
    if name.isascii():
        return name
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return os.fsdecode(name.encode("utf-8", "surrogatepass"))
    return name


def name_of_test(test: str, *, has_twin: bool = False) -> str:
    """Return the cassette name of a test: ``<module path>/[Class.]test[-parameters]``.

    ``test`` is pytest's id of the test, with the path of its module relative to the root folder. The path of a module
    outside of that folder begins with ``..``. The last part of the result needs no quotes in a shell. It ends in ``+``
    and a hash of the original name if that has characters other than letters, digits, ``_``, ``.`` and ``-``, has
    capitals in the parameters, or is too long. So two tests never share a file, even if the file system ignores case.
    ``has_twin`` says that another test or class of the module has a name that differs only in capitals.
    """
    module, _, inside = test.partition("::")
    name, parameters = _split_parameters(inside)
    # In the name of a cassette, `@` marks a fixture and a dot follows a class. The name of a test that a plugin
    # collects may have both; such a name gets a hash.
    is_unsafe = has_twin or "@" in name or "." in inside.partition("[")[0]
    return "/".join([*_folders_of(module), _file_name(name, parameters, original=inside, is_unsafe=is_unsafe)])


def name_of_fixture(fixture: str, *, defined: str, within: str | None = None, has_twin: bool = False) -> str:
    """Return the cassette name of a fixture that several tests share: ``<module path>/[Class.]@fixture[-parameter]``.

    - ``fixture``: its name, with its parameter in brackets.
    - ``defined``: the id of the module, the class or the ``conftest.py`` that defines it. For a plugin, ``@`` and the
      name of its Python module.
    - ``within``: the id of the module or the class for which the fixture is set up. None if it is set up for the whole
      run, or for the package that defines it.
    - ``has_twin``: whether a name may differ from that of the fixture or its class only in capitals.

    A fixture may override and request another fixture of the same name. Both have the same ``within``, so the result
    also names ``defined`` if the two differ. Parameters are written as in ``name_of_test``.
    """
    place = within or defined
    module, _, inside = place.partition("::")
    folders = ("@plugins", _folder_name(module[1:])) if module.startswith("@") else _folders_of(module)
    original = f"{inside}::@{fixture}" if inside else f"@{fixture}"
    name, parameters = _split_parameters(original)
    definition = ""
    if defined != place:
        path, _, owner = defined.partition("::")
        # Of the places that define the fixtures of one test, each contains the next. So no two of them have the same
        # name with dots.
        definition = "@" + ".".join(
            filter(None, [*([path] if path.startswith("@") else _folders_of(path)), owner.replace("::", ".")])
        )
    file = _file_name(name, parameters, definition, original=original + definition, is_unsafe=has_twin)
    return "/".join([*folders, file])


def is_name_of_fixture(last: str) -> bool:
    """Whether the last part of a cassette's name is that of a fixture. Parameters of a test may have an ``@``, too."""
    return re.match(r"(?:[^-@]*\.)?@", last) is not None


def _split_parameters(inside: str) -> tuple[str, str]:
    """Split a name within a module into its names, joined with dots, and its parameters, in their brackets."""
    name, bracket, parameters = inside.partition("[")
    return name.replace("::", "."), bracket + parameters


def folder_of_module(module: str) -> str:
    """Return the folder, relative to the cassette folder, of the cassettes of a module. ``module`` is as in an id."""
    return "/".join(_folders_of(module))


def module_of_folder(folder: str) -> str | None:
    """Return the path of the module whose cassettes are in a folder, without suffix and relative to the root folder.

    Returns None for a folder that belongs to no module.
    """
    parts = [".." if part == "@up" else part for part in folder.split("/")]
    return None if not folder or any(part.startswith("@") for part in parts) else "/".join(parts)


@lru_cache(maxsize=256)  # asked once for each test, with the same module for all tests of a file
def _folders_of(module: str) -> tuple[str, ...]:
    """Return the parts of the path of a module's folder. Parts with ``@`` are made by Aquila; ``@up`` means ``..``."""
    if not module:
        return ()
    folders = []
    for part in PurePosixPath(module.replace("\\", "/")).with_suffix("").parts:
        if part == "..":
            folders.append("@up")
        elif re.fullmatch(r"[A-Za-z]:", part):  # the path of a module on another drive is absolute
            folders.append(f"@{part[0]}")
        elif part != "/":
            folders.append(_name_with_hash(part) if part.startswith("@") else part)
    return tuple(folders)


def _folder_name(text: str) -> str:
    return text if re.fullmatch(r"[\w-]+(?:\.[\w-]+)*", text) else _name_with_hash(text)


def _file_name(name: str, parameters: str, place: str = "", *, original: str, is_unsafe: bool = False) -> str:
    """Return the file name for a test or fixture.

    ``name`` is its name within the module, ``parameters`` are its parameters in brackets, and ``place`` says where a
    fixture is defined. With ``is_unsafe``, or if another test could get the same readable name, a hash of ``original``
    follows. In ``original`` the separator after a class differs from a dot in a name.
    """
    inside = parameters[1:-1]
    plain = f"{name}-{inside}{place}" if parameters else name + place
    is_plain = (
        not is_unsafe
        and _NAME.fullmatch(name)
        and (not parameters or (parameters.endswith("]") and re.fullmatch(_PARAMETERS, inside)))
        and (not place or re.fullmatch(_PLACE, place))
        and not ("." in plain and plain.lower().endswith((*cassette_suffixes(), *_ENDS_OF_OTHER_FILES)))
        # macOS stores names in another normal form than Linux, so only names in one form are used without a change.
        and (plain.isascii() or unicodedata.is_normalized("NFC", plain))
        and len(plain.encode()) <= _LONGEST
    )
    return plain if is_plain else _name_with_hash(name + parameters + place, original)


def _name_with_hash(text: str, original: str | None = None) -> str:
    """Return the safe characters of a text, ``+`` and a hash of ``original``, so that no other text gives that name."""
    readable = re.sub(_UNSAFE, "-", text).strip("-.").encode()
    digest = hashlib.sha256((original or text).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{readable[: _LONGEST - _DIGITS - 1].decode(errors='ignore')}+{digest}"
