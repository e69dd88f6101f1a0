"""The pytest plugin of Aquila: record the answers of language models once, replay them for ever.

Begin with ``plugin``: the hooks of every run, which decide whether there is anything to do. What they do then is in
modules that are loaded when they are needed first. Hooks that only some runs need stand in the modules that register
them. Only this package imports pytest.

- Options and set-up: ``options``, ``option_values``, ``marker_options``, ``environment_check``, ``run_kinds``,
  ``sealed_run``, ``run_life``; ``calling_program`` is a program that has called pytest.
  ``skipped_cassette_folders`` keeps pytest from looking for tests among cassettes.
- Fixtures: ``fixtures``, registered by ``fixture_names``; ``fixture_cassettes`` for those that ask models themselves.
  ``tasks``: the fixtures for Huey, and what keeps a run away from real queues.
- A test: ``test_scopes`` knows what becomes of it, ``scope_starts`` opens its scope and ``scope_ends`` closes it,
  ``outcomes`` and ``unanswered`` turn a miss into a failure, ``play_requirements`` fails what was not played.
  ``test_reports`` completes reports: ``advice``, ``key_advice`` and ``recorder_advice`` add a remedy,
  ``report_redaction`` keeps secrets out. ``node_ids`` names tests and their cassettes, ``typed_command`` says what to
  type for them.
- ``recording_runs``: what a run that records shows meanwhile, and tests that it runs again.
- ``summary``: the lines at the end of a run.
- Further kinds of run: ``verify_run`` (``--aquila-verify``), ``faulted_tests`` (``--aquila-faults``),
  ``report_writing`` (``--aquila-report``).
- ``vcr_compat``: the marks, fixtures and options of pytest-recording and cassetter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_FOLDER = os.path.dirname(__path__[0])
"""Where both packages lie, in an installation and in a checkout."""

_COMPILED = "" if sys.flags.optimize else f".{sys.implementation.cache_tag}.pyc"
"""How the names of compiled modules end, in a Python that neither optimizes nor keeps them elsewhere.

Each module tells its own in ``__cached__``. Python would take its path apart for that, an eighth of a small import.
"""


class OrdinaryFinder:
    """A finder that loads Aquila's own modules as Python does, in ``sys.meta_path`` from the import of the plugin on.

    With ``-p aquila`` pytest would load all of ``aquila`` with its own loader, which rewrites assertions. Aquila has no
    assertions, and that loader takes twice the time, because it reads the code of a module piece by piece.

    It looks in one place, where Python's own finder goes through ``sys.path`` and lists folders. That takes a quarter
    of the time of an import of a small module, and most of Aquila's are small. What is not there, as in an archive, is
    left to Python's.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module of Aquila; None for any other, and for one that is not in a folder."""
        package, _, last = name.rpartition(".")
        if (package or last).partition(".")[0] not in ("aquila", "pytest_aquila"):
            return None
        around = path[0] if path else _FOLDER
        base = f"{around}/{last}"
        for folder, module, is_package in ((around, last, False), (base, "__init__", True)):
            file = f"{folder}/{module}.py"
            if os.path.isfile(file):
                spec = ModuleSpec(name, SourceFileLoader(name, file), origin=file, is_package=is_package)
                spec.has_location = True
                if _COMPILED and sys.pycache_prefix is None:
                    spec.cached = f"{folder}/__pycache__/{module}{_COMPILED}"
                if is_package:
                    spec.submodule_search_locations = [base]
                return spec
        return PathFinder.find_spec(name, path, target)


def find_as_before() -> None:
    """Remove that finder at the end of a process that only runs pytest.

    Objects in ``sys.meta_path`` live until Python ends, with all that they can reach: here the plugin, and through it
    pytest. Python would then delete these name by name, which takes as long as loading a quarter of Aquila's modules.
    """
    if OrdinaryFinder in sys.meta_path:
        sys.meta_path.remove(OrdinaryFinder)


if not any(finder is OrdinaryFinder for finder in sys.meta_path):
    sys.meta_path.insert(0, OrdinaryFinder)
