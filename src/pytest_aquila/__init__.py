"""The pytest plugin of Aquila: record the answers of language models once, replay them for ever.

Begin with ``plugin``: the hooks that every run needs. They load other modules only if a test or an option needs them.
Hooks that only some runs need are in the modules that register them. Only this package imports pytest.

- Options and set-up: ``options``, ``option_values``, ``marker_options``, ``environment_check``, ``run_kinds``,
  ``sealed_run``, ``run_life``; ``calling_program`` is a program that has called pytest.
  ``skipped_cassette_folders`` keeps pytest from looking for tests among cassettes.
- Fixtures: ``fixtures``, registered by ``fixture_names``. ``fixture_cassettes`` has the cassettes of fixtures that make
  requests themselves. ``tasks``: the fixtures for Huey, and testing mode, which keeps a run away from real queues.
- A test: ``test_scopes`` keeps the state of a test, ``scope_starts`` opens its scope and ``scope_ends`` closes it.
  ``outcomes`` and ``unanswered`` turn a miss into a failure, and ``grouped_misses`` the misses of a task group.
  ``shared_misses`` fails the running test for a miss in a child process of a shared fixture.
  ``play_requirements`` fails a test that leaves recordings unplayed. ``test_reports`` completes reports: ``advice`` and
  ``key_advice`` add a remedy, ``report_redaction`` removes secrets. ``node_ids`` names tests and their cassettes.
  ``suggested_commands`` writes commands for the user to type, and ``how_called`` finds out how pytest was called.
- ``recording_runs``: the progress of a run that records, and tests that it runs again.
- ``summary``: the lines at the end of a run.
- Further kinds of run: ``verify_run`` (``--aquila-verify``), ``faulted_tests`` (``--aquila-faults``),
  ``report_writing`` (``--aquila-report``).
- ``vcr_compat``: the marks, fixtures and options of pytest-recording, pytest-vcr and cassetter.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import MAGIC_NUMBER
from io import FileIO
from os import sep, stat  # bound here, as in Python's finders: a test that replaces `os.stat` must not stop an import
from stat import S_ISREG
from struct import pack
from types import CodeType, ModuleType

_FOLDER = os.path.dirname(__path__[0])
"""Where both packages lie, in an installation and in a checkout."""

_COMPILED = "" if sys.flags.optimize else f".{sys.implementation.cache_tag}.pyc"
"""How the names of compiled modules end; empty if Python optimizes, because such modules have other names.

With it the path of a compiled module is made. Python would take the path of the source apart for that, which is an
eighth of a small import.
"""

_LONGEST = 1 << 16
"""The greatest number of bytes of a compiled module that are read at once: twice the longest module of Aquila."""


class _FirstLoad(SourceFileLoader):
    """Python's loader, with a shorter way to load a compiled module that is up to date.

    Python's own loader takes the path apart again, asks the system about the source again, and reads through a buffer.
    That is eleven system calls instead of five, and a third of the time of a small import.

    Python's own loader still does the work if the compiled module is missing, stale, damaged, moved, or compared with
    its source by a hash. After its first use this loader becomes one of Python's own class. So no module that lives
    until Python ends refers to this class, and through it to pytest.
    """

    def __init__(self, name: str, file: str, source: os.stat_result, compiled: str) -> None:
        """``source`` is the present status of ``file``, and ``compiled`` the path of the compiled module."""
        super().__init__(name, file)
        self._found = source, compiled

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of the module ``fullname``, which is that of this loader."""
        source, compiled = self.__dict__.pop("_found")
        self.__class__ = SourceFileLoader  # type: ignore[assignment]
        # As in PEP 552: no flag is set where the time and the size of a source tell whether it has changed.
        expected = pack("<4sIII", MAGIC_NUMBER, 0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF)
        try:
            with FileIO(compiled) as file:
                content = file.read(_LONGEST)
            if content.startswith(expected) and len(content) < _LONGEST and fullname == self.name:
                code = marshal.loads(content[len(expected) :])
                if isinstance(code, CodeType) and code.co_filename == self.path:
                    return code
        except (OSError, EOFError, ValueError, TypeError):
            pass
        return SourceFileLoader.get_code(self, fullname)


class OrdinaryFinder:
    """A finder that loads Aquila's own modules as Python does, in ``sys.meta_path`` from the import of the plugin on.

    With ``-p aquila`` pytest would load all of ``aquila`` with its own loader, which rewrites assertions. Aquila has no
    assertions, and that loader takes twice the time, because it reads the code of a module piece by piece.

    This finder looks in one folder. Python's own finder searches ``sys.path`` and lists folders, which is a quarter of
    the time of a small import, and most modules of Aquila are small. Python's own finder is asked for modules that are
    not in that folder, such as those in an archive.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module of Aquila; None for any other, and for one that is not in a folder."""
        if not name.startswith(("aquila", "pytest_aquila")):
            return None  # checked first, because each import of a run comes here
        package, _, last = name.rpartition(".")
        if (package or last).partition(".")[0] not in ("aquila", "pytest_aquila"):
            return None
        around = path[0] if path else _FOLDER
        # The separator of the system, as in Python's paths: Aquila's frames are known by the beginning of their paths.
        base = f"{around}{sep}{last}"
        for folder, module, is_package in ((around, last, False), (base, "__init__", True)):
            file = f"{folder}{sep}{module}.py"
            try:
                source = stat(file)
            except (OSError, ValueError):
                continue
            if S_ISREG(source.st_mode):
                usual = _COMPILED and sys.pycache_prefix is None
                compiled = f"{folder}{sep}__pycache__{sep}{module}{_COMPILED}" if usual else None
                loader = _FirstLoad(name, file, source, compiled) if compiled else SourceFileLoader(name, file)
                spec = ModuleSpec(name, loader, origin=file, is_package=is_package)
                spec.has_location = True
                if compiled:
                    spec.cached = compiled
                if is_package:
                    spec.submodule_search_locations = [base]
                return spec
        return PathFinder.find_spec(name, path, target)


def remove_finder() -> None:
    """Remove ``OrdinaryFinder`` at the end of a process that only runs pytest.

    Objects in ``sys.meta_path`` live until Python ends, with all that they can reach: here the plugin, and through it
    pytest. Python would then delete these name by name, which takes as long as loading a quarter of Aquila's modules.
    """
    if OrdinaryFinder in sys.meta_path:
        sys.meta_path.remove(OrdinaryFinder)


if not any(finder is OrdinaryFinder for finder in sys.meta_path):
    sys.meta_path.insert(0, OrdinaryFinder)
