"""``--aquila-orphans``: the cassettes that no test of a run used, as far as the run can know.

A test that did not pass or was not collected has not shown which cassettes it needs. So a cassette that may belong to
such a test is kept, and a run that was not of all tests reports nothing.
"""

from __future__ import annotations

import datetime
import glob
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aquila.cassettes.storage import cassette_files, names
from aquila.cassettes.storage.recorded_uses import UNUSED_REPORT, read_uses
from aquila.cassettes.storage.regular_files import read_regular
from aquila.recording import runtime
from aquila.recording.reporting.gone_tests import Sources
from aquila.shell_words import path_from
from pytest_aquila.summary.run_extent import PlannedTest, RunExtent

if TYPE_CHECKING:
    from pytest_aquila.summary.run_totals import RunTotals

_FIXTURE = re.compile(r"(?:[\w.]*\.)?@")


class UnusedCassette(NamedTuple):
    """A cassette that no test used. ``kept_because`` is the reason to keep it, or empty.

    ``sha256`` is the hash of its content; empty if the file cannot be read.
    """

    folder: Path
    path: Path
    sha256: str
    kept_because: str


class ReasonsToKeep:
    """Says why a cassette may still be needed, although no test of a run used it.

    The methods ``_because...`` return such a reason as a clause, or an empty text.

    ``folder`` is the cassette folder, and ``root`` the folder to which the ids of tests are relative.
    """

    def __init__(self, extent: RunExtent, folder: Path, root: Path) -> None:
        self._root = root
        self._collected = {names.folder_of_module(_module_of(test.name)) for test in extent.planned}
        self._modules = {_module_of(test.name) for test in extent.planned}
        self._planned = {test.name for test in extent.planned}
        self._planned_functions = {_stem_of_function(test.name) for test in extent.planned}
        self._module_of_folder = {names.folder_of_module(module): module for module in self._modules}
        self._sources = Sources(root)
        self._undone = [test for test in extent.planned if not extent.passed(test)]
        self._undone_folders = {names.folder_of_module(_module_of(test.name)) for test in self._undone}
        self._outcomes = {test.name: extent.outcome_of(test) for test in self._undone}
        self._fixtures = frozenset(extent.fixtures)
        self._has_skipped_modules = bool(extent.skipped_modules)
        self._by_name: dict[str, PlannedTest] = {}
        for test in self._undone:
            self._by_name.update(dict.fromkeys((test.cassette, *test.named), test))
        self._functions = sorted({(_stem_of_function(test.name), test.name) for test in self._undone})
        self._users: dict[str, list[str]] = {}
        for cassette, user in sorted(read_uses(folder)):
            self._users.setdefault(cassette, []).append(user)

    def why_kept(self, name: str) -> str:
        """Return the reason to keep the cassette ``name``, or an empty string."""
        return next(filter(None, self._reasons(name)), "")

    def _reasons(self, name: str) -> Iterator[str]:
        folder, _, last = name.rpartition("/")
        yield self._because_named(name)
        yield from (self._because_of_user(user) for user in self._users.get(name, ()))
        if _FIXTURE.match(last):
            yield self._because_fixture_is_idle(folder, last)
            yield self._because_of_fixture(folder)
        elif folder in self._collected:
            yield from (self._tell_outcome(test) for stem, test in self._functions if _is_of_function(name, stem))
            yield self._because_test_exists(folder, last)
        elif self._module_exists(folder):
            yield "its module was not collected"
        elif name not in self._users and not self._looks_like_a_module(folder):
            yield self._because_owner_is_unknown()

    def _because_named(self, name: str) -> str:
        """Return a reason if a test that did not pass names the cassette, or has it as its own."""
        for known, test in self._by_name.items():
            if name == known or name.endswith(f"/{known}"):
                return self._tell_outcome(test.name)
        return ""

    def _because_of_user(self, user: str) -> str:
        """Return a reason if a test that used the cassette when it was last recorded still exists."""
        if user in self._planned:
            return f"{user} used it when it was last recorded"
        module, _, test = user.partition("::")
        if module not in self._modules and (self._root / module).is_file():
            return f"the module of {user}, which used it when it was last recorded, was not collected"
        if not self._sources.is_gone(module, test):
            return f"{user}, which used it when it was last recorded, was not collected"
        return ""

    def _because_test_exists(self, folder: str, last: str) -> str:
        """Return a reason if the test is in its module but was not collected: it may be for another system."""
        function = re.split("[+-]", last, maxsplit=1)[0]
        if f"{folder}/{function}" in self._planned_functions:
            return ""
        return "" if self._sources.is_gone(self._module_of_folder[folder], last) else "its test was not collected"

    def _because_fixture_is_idle(self, folder: str, last: str) -> str:
        """Return a reason if a fixture is defined but used by no collected test: those may be for another system."""
        fixture, *places = re.split(r"@", re.split(r"[\[+-]", last.partition("@")[2], maxsplit=1)[0])
        module = self._module_of_folder.get(folder) or f"{names.module_of_folder(folder) or folder}.py"
        defined_in = [f"{place.replace('.', '/')}.py" for place in places] or [module]
        is_idle = fixture not in self._fixtures and any(self._sources.mentions(each, fixture) for each in defined_in)
        return f"no test that was collected uses the fixture {fixture}" if is_idle else ""

    def _because_of_fixture(self, folder: str) -> str:
        """Return a reason if tests that may use the fixture of a cassette did not pass, or were not collected."""
        if folder in self._collected:
            return "a test of its module did not pass" if folder in self._undone_folders else ""
        if folder.rpartition("/")[2] == "conftest" or names.module_of_folder(folder) is None:
            return self._because_owner_is_unknown()
        return "its module was not collected" if self._module_exists(folder) else ""

    def _because_owner_is_unknown(self) -> str:
        """Return a reason for a cassette of an unknown owner, which may be any test that did not pass."""
        if self._undone:
            return f"it may be of a test that did not pass, such as {self._undone[0].name}"
        return "it may be of a module that was skipped" if self._has_skipped_modules else ""

    def _tell_outcome(self, test: str) -> str:
        return f"{test}: {self._outcomes[test]}"

    def _module_exists(self, folder: str) -> bool:
        module = names.module_of_folder(folder)
        return module is not None and any((self._root / module).parent.glob(f"{glob.escape(Path(module).name)}.*"))

    def _looks_like_a_module(self, folder: str) -> bool:
        """Whether a folder has a usual name of a test module. Without that module it belongs to a deleted one."""
        last = folder.rpartition("/")[2]
        return last.startswith("test_") or last.endswith("_test")


def _module_of(test: str) -> str:
    return test.partition("::")[0]


def _stem_of_function(test: str) -> str:
    """Return the name of a test's cassette, without parameters: their names may change between runs."""
    return names.name_of_test(test.partition("[")[0]).partition("+")[0]


def _is_of_function(name: str, stem: str) -> bool:
    return name == stem or name.startswith((f"{stem}-", f"{stem}+"))


def find_unused(extent: RunExtent, totals: RunTotals | None, root: Path) -> list[UnusedCassette]:
    """Return the cassettes that no test used, below the cassette folder of the run and those of the used ones.

    ``root`` is the folder to which ids of tests are relative.
    """
    used = () if totals is None else totals.cassettes
    known = {names.cassette_path(Path(folder), names.name_on_this_system(name)) for folder, name in used}
    known_files = {_identify(path) for path in (*known, *(() if totals is None else totals.further))}
    found: list[UnusedCassette] = []
    every = sorted({runtime.current_settings().cassette_root(), *(Path(folder) for folder, _ in used)})
    for folder in every:
        reasons = ReasonsToKeep(extent, folder, root)
        inner = [each for each in every if each != folder and each.is_relative_to(folder)]
        for path in cassette_files.find_cassette_files(folder) if folder.is_dir() else ():
            if _identify(path) not in known_files and not any(path.is_relative_to(each) for each in inner):
                name = names.name_of_file(folder, path)
                found.append(_make_row(folder, path, reasons.why_kept(name.removesuffix(".msgpack"))))
    return found


def _make_row(folder: Path, path: Path, why_kept: str) -> UnusedCassette:
    try:
        digest = hashlib.sha256(read_regular(path, follow=True)).hexdigest()
    except OSError as error:  # such as a link to nowhere, or a file of another user
        return UnusedCassette(folder, path, "", why_kept or f"it cannot be read: {error.strerror}")
    return UnusedCassette(folder, path, digest, why_kept)


def _identify(path: str | Path) -> str:
    """Return a text that is equal for all paths of a file, also through links, and where case does not count.

    Not by the number of the file: a tool that saves space may make one file of several equal cassettes.
    """
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def make_report(extent: RunExtent, unused: Iterable[UnusedCassette], root: Path) -> Mapping[str, Any]:
    """Return the report of a run as a JSON value. ``aquila cassettes prune`` reads it."""
    rows = [(one, _describe(one, root)) for one in unused]
    partial = extent.why_partial()
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return {
        "report": UNUSED_REPORT,
        "made": now.isoformat(),
        "complete": not partial,
        "partial_because": partial,
        "tests": {test.name: extent.outcome_of(test) for test in extent.planned},
        "unused": [row for one, row in rows if not one.kept_because],
        "kept": [{**row, "because": one.kept_because} for one, row in rows if one.kept_because],
    }


def _describe(one: UnusedCassette, root: Path) -> dict[str, str]:
    folder = path_from(root, one.folder)
    return {"folder": folder, "file": one.path.relative_to(one.folder).as_posix(), "sha256": one.sha256}
