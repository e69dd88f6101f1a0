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

from aquila.cassettes.codecs import cassette_suffixes
from aquila.errors import CassetteNameError
from aquila.lazy_patterns import lazy_pattern

SCRIPT_SUFFIX = ".script.yaml"
"""The ending of scripts, files with answers that were written by hand. They are found by name, as cassettes are."""
_DEFAULT_SUFFIXES = (".yaml", ".msgpack", SCRIPT_SUFFIX)
"""The suffixes that are tried for a name without a suffix."""
WORK_FOLDER = ".journal"
"""The folder below the cassette folder for journals and locks. It holds a ``.gitignore`` for itself."""
_NAME = lazy_pattern(r"(?:\w+\.)*@?\w+")
"""The names of tests and fixtures within a module that can be a file name unchanged."""
_PARAMETERS = r"[a-z0-9_.-]*"
"""Parameters that can be part of a file name unchanged: no character that is special to a shell or a file system, and
no capitals, because some file systems do not distinguish them from small letters."""
_PLACE = r"@[\w.@-]+"
_CONTROL = lazy_pattern(r"[\x00-\x1f\x7f]")
_DRIVE = lazy_pattern("[A-Za-z]:")
_UNSAFE = r"[^\w.@-]+"
_ENDS_OF_OTHER_FILES = (".pending",)
_DIGITS = 12
"""Hexadecimal digits of a hash in a name: 48 bits, because all tests of a module may share the readable rest."""
_LONGEST = 160
"""Bytes of a file's name before its suffix that a test gives."""
_LONGEST_GIVEN = 200
"""Bytes of each part of a name that a user gives. File systems allow 255, with what Aquila adds while it writes."""
_SHOWN = 60
"""Characters that a message shows of a name that is too long."""
_LONGEST_NAME = 1000
"""Bytes of a whole name. Systems allow 1024 to 4096 for a path."""


def cassette_path(root: Path, name: str) -> Path:
    """Return the file of the cassette ``name`` below the folder ``root``.

    A name is a relative path with ``/``; without a suffix it is a ``.yaml`` file, or the ``.msgpack`` file or the
    script if only that one exists. Raises ``CassetteNameError`` for a name that is empty, too long or absolute, leaves
    the folder, has a control character, or is where Aquila keeps its journals.
    """
    return _to_path(cassette_file(root, name))


def names_script(root: Path, name: str) -> bool:
    """Whether the file of a cassette has answers that were written by hand. Raises like ``cassette_path``."""
    return is_script(cassette_file(root, name))


def cassette_file(root: Path, name: str) -> str:
    """Return ``cassette_path`` as text. Raises like it."""
    # With text and `os.access`, because a run comes here twice for every test. `Path`, and the exception within
    # `os.path.exists` for a missing file, which is the usual case, take several times as long.
    readable, *others = _candidate_files(root, name if isinstance(name, str) else _refuse_name(name))
    if not others or _is_there(readable):  # as nearly every cassette is
        return readable
    return next((file for file in others if _is_there(file)), readable)


def _is_there(file: str) -> bool:
    try:
        return os.access(file, os.F_OK)
    except ValueError:  # a name that no file can have, with a NUL
        return False


def _refuse_name(name: object) -> NoReturn:
    kind = type(name).__name__
    raise CassetteNameError(f"a cassette name is a text such as 'jobs/generate_summary', and this is of type {kind}")


def is_script(path: str | Path) -> bool:
    """Whether a file has answers that were written by hand."""
    return os.fspath(path).endswith(SCRIPT_SUFFIX)


def candidate_paths(root: Path, name: str) -> tuple[Path, ...]:
    """Return the files that may be the cassette ``name``, the first of them by default. Raises like ``cassette_path``.

    The disk is not read.
    """
    return tuple(map(_to_path, _candidate_files(root, name if isinstance(name, str) else _refuse_name(name))))


def folder_of_cassette(root: Path, name: str) -> str:
    """Return the folder in which all files stand that may be the cassette ``name``. Raises like ``cassette_path``."""
    return os.path.dirname(_candidate_files(root, name)[0])


# The caches of this module hold results of pure functions. The suffixes of plugins count only in names with a suffix.
@lru_cache(maxsize=64)  # a test asks several times for its cassette, and hardly ever for that of another
def _to_path(file: str) -> Path:
    return Path(file)


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
    stem, dot, suffix = parts[-1].rpartition(".")
    if stem and suffix and dot + suffix in cassette_suffixes():  # a name seldom has one: plugins need not be asked
        return (path,)
    return tuple([path + suffix for suffix in _DEFAULT_SUFFIXES])


def name_of_file(root: Path, path: Path) -> str:
    """Return the name of the cassette in a file below ``root``: its path from there, without ``.yaml``."""
    inside = path.relative_to(root)
    return (inside.with_suffix("") if path.suffix == ".yaml" else inside).as_posix()


def _check_parts(name: str, parts: Sequence[str]) -> None:
    """Raise ``CassetteNameError`` for a name that no file can have, or that is Aquila's own."""
    if _CONTROL.search(name):
        raise CassetteNameError(f"cassette name {name[:_SHOWN]!r} has a control character; remove it")
    if (len(name) > _LONGEST_GIVEN or not name.isascii()) and _is_too_long(parts):
        raise CassetteNameError(
            f"cassette name {name[:_SHOWN]!r}... is too long: at most {_LONGEST_GIVEN} bytes between two slashes, and "
            f"{_LONGEST_NAME} in all"
        )
    if name_of_here(name) != name:
        raise CassetteNameError(
            f"cassette name {name!r} cannot be the name of a file here, where such names are encoded in "
            f"{sys.getfilesystemencoding()}; give another name, or run Python with PYTHONUTF8=1"
        )
    if WORK_FOLDER in map(str.lower, parts):  # in lower case, because not every file system tells the cases apart
        raise CassetteNameError(f"cassette name {name!r}: the folder {WORK_FOLDER} is Aquila's own; give another name")


def _is_too_long(parts: Sequence[str]) -> bool:
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    return max(sizes) > _LONGEST_GIVEN or sum(sizes) + len(sizes) > _LONGEST_NAME


def name_of_here(name: str) -> str:
    """Return by which name a cassette is found here that another process has named.

    Where names of files are encoded in ASCII, those that a process with UTF-8 has given are spelt with surrogates.
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

    ``test`` is pytest's id of the test, with the path of its module relative to the root folder; the path of a module
    outside begins with ``..``. The test's own part needs no quotes in a shell. A name with characters other than
    letters, digits, ``_``, ``.`` and ``-``, with capitals in the parameters, or that is too long, ends in ``+`` and a
    hash of the original. So two tests never share a file, even where the file system ignores case. ``has_twin`` says
    that the module has another name that differs from that of the test or its class only in capitals.
    """
    module, _, inside = test.partition("::")
    name, parameters = _split_parameters(inside)
    # In names of cassettes, `@` marks a fixture and a dot follows a class. Tests of plugins may have both in their
    # names; the hash then keeps them apart.
    is_unsafe = has_twin or "@" in name or "." in inside.partition("[")[0]
    return "/".join([*_folders_of(module), _file_name(name, parameters, original=inside, is_unsafe=is_unsafe)])


def name_of_fixture(fixture: str, *, defined: str, within: str | None = None, has_twin: bool = False) -> str:
    """Return the cassette name of a fixture that several tests share: ``<module path>/[Class.]@fixture[-parameter]``.

    ``fixture`` is its name, with its parameter. ``defined`` is the id of the module, the class or the ``conftest.py``
    that defines it; that of a plugin is the name of its Python module after ``@``. ``within`` is the id of the module
    or the class that the fixture is set up for; without one it is set up for the whole run, or for the package that
    defines it. A fixture may override another of its name and request it too: both have ``within`` in common, so where
    ``defined`` differs from it, the name has both. Parameters are written as in ``name_of_test``.
    ``has_twin`` says that a name may differ from that of the fixture or its class in capitals alone.
    """
    place = within or defined
    module, _, inside = place.partition("::")
    folders = ("@plugins", _folder_name(module[1:])) if module.startswith("@") else _folders_of(module)
    original = f"{inside}::@{fixture}" if inside else f"@{fixture}"
    name, parameters = _split_parameters(original)
    definition = ""
    if defined != place:
        path, _, owner = defined.partition("::")
        # The places that define the fixtures of one test contain each other, so two never get the same name with dots.
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
    """Return the folder, below that of all cassettes, of the cassettes of a module. ``module`` is as in an id."""
    return "/".join(_folders_of(module))


def module_of_folder(folder: str) -> str | None:
    """Return the path of the module whose cassettes are in a folder, without suffix and relative to the root folder.

    Returns None for a folder that belongs to no module.
    """
    parts = [".." if part == "@up" else part for part in folder.split("/")]
    return None if not folder or any(part.startswith("@") for part in parts) else "/".join(parts)


@lru_cache(maxsize=256)  # asked once for each test, with the same module for all tests of a file
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


def _folder_name(text: str) -> str:
    return text if re.fullmatch(r"[\w-]+(?:\.[\w-]+)*", text) else _name_with_hash(text)


def _file_name(name: str, parameters: str, place: str = "", *, original: str, is_unsafe: bool = False) -> str:
    """Return the file name for a test or fixture.

    ``name`` is its name within the module, ``parameters`` are its parameters in brackets, and ``place`` says where a
    fixture is defined. If another test could get the same readable name, or with ``is_unsafe``, a hash of ``original``
    follows, in which a class still differs from a dot in a name.
    """
    inside = parameters[1:-1]
    plain = f"{name}-{inside}{place}" if parameters else name + place
    is_plain = (
        not is_unsafe
        and _NAME.fullmatch(name)
        and (not parameters or (parameters.endswith("]") and re.fullmatch(_PARAMETERS, inside)))
        and (not place or re.fullmatch(_PLACE, place))
        and not ("." in plain and plain.lower().endswith((*cassette_suffixes(), *_ENDS_OF_OTHER_FILES)))
        # macOS stores names in another normal form than Linux, so only one form is used as it is.
        and (plain.isascii() or unicodedata.is_normalized("NFC", plain))
        and len(plain.encode()) <= _LONGEST
    )
    return plain if is_plain else _name_with_hash(name + parameters + place, original)


def _name_with_hash(text: str, original: str | None = None) -> str:
    """Return what is readable of a text, with a hash of its ``original`` after ``+``, so that no other has the name."""
    readable = re.sub(_UNSAFE, "-", text).strip("-.").encode()
    digest = hashlib.sha256((original or text).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{readable[: _LONGEST - _DIGITS - 1].decode(errors='ignore')}+{digest}"
