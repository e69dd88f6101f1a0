"""The pytest plugin of Aquila: record the answers of language models once, replay them for ever.

Begin with ``plugin``, which has the hooks of pytest and nothing else. Only this package imports pytest.

- Options and set-up: ``options``, ``option_values``, ``environment_check``, ``sealed_run``, ``run_life``.
  ``cassette_folders`` keeps pytest from looking for tests among cassettes.
- Fixtures: ``fixtures``, registered by ``fixture_names``; ``fixture_cassettes`` for those that ask models themselves.
  ``tasks``: the fixtures for Huey, and what keeps a run away from real queues.
- A test: ``test_scopes`` begins its scope and ``scope_ends`` ends it, ``outcomes`` and ``unanswered`` turn a miss into
  a failure, ``demands`` fails what was not played. ``node_ids`` names tests.
- ``recording_runs``: what a run that records shows meanwhile, and tests that it runs again.
- ``summary``: the lines at the end of a run.
- Further kinds of run: ``verify_run``, ``faults``, ``run_report``.
- ``vcr_compat``: the marks, fixtures and options of pytest-recording and cassetter.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class OrdinaryFinder:
    """Loads Aquila's own modules as Python does. It stands in ``sys.meta_path`` from the import of the plugin on.

    With ``-p aquila`` pytest would load all of ``aquila`` with its own loader, to rewrite assertions. Aquila has none,
    and that loader takes twice the time: it reads the code of a module piece by piece.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module of Aquila. What is not on a path of folders, such as in an archive, others find."""
        if name.partition(".")[0] not in ("aquila", "pytest_aquila"):
            return None
        return PathFinder.find_spec(name, path, target)


def find_as_before() -> None:
    """Take that finder away, where pytest is all that the process does and has ended.

    Whatever stands in ``sys.meta_path`` when Python ends keeps alive until then all that it can reach: here the plugin,
    and with it pytest. To take that apart name by name takes Python as long as loading a quarter of Aquila's modules.
    """
    if OrdinaryFinder in sys.meta_path:
        sys.meta_path.remove(OrdinaryFinder)


if not any(finder is OrdinaryFinder for finder in sys.meta_path):
    sys.meta_path.insert(0, OrdinaryFinder)
