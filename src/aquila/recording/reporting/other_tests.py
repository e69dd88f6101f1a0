"""Finds the recording of a missed request in the cassette of another test.

The usual cause is a cache, or another object that tests share: when the test was recorded, an earlier test had already
sent the request. Alone or in another order the test then misses, and its own cassette cannot tell why. Or the cassette
of the test itself is in another folder, because pytest had another root folder then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import name_of_file
from aquila.lazy_imports import lazy_modules
from aquila.recording.reporting import renamed_tests
from aquila.recording.reporting.cassette_search import CassetteSearch, StoredCassette, name_place
from aquila.shell_words import join_words
from aquila.spelling import find_nearest

if TYPE_CHECKING:
    from aquila import pytest_settings
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest
else:
    lazy_modules(globals(), "aquila: pytest_settings")


ADVICE = (
    "If this was recorded before, a cache, or something else that tests share, may have had the answer",
    "then, so that nothing was sent. Empty it before each test, and record again.",
)
OTHER_ID = "If that test is gone, because only the id of a parameter has changed, move its recordings:"
MISSPELT = ("Is the name of the cassette misspelt?",)


class OtherTests(CassetteSearch):
    """Searches the cassettes of the same test module, and those of equal name in others.

    The usual miss is a changed prompt, which is recorded nowhere. To read hundreds of cassettes for it, or a few large
    ones, would take longer than most tests.
    """

    only_near = True
    most_bytes = 4 * 1024 * 1024


def mention_other_test(
    explained: Explanation, scope: Scope, session: Session, root: Path, path: Path, missed: MissedRequest
) -> Explanation:
    """Add to the explanation of a miss in which other cassette the same request is recorded, if in any.

    ``path`` is the file of the session's cassette, in the folder ``root``. If that has the request, it was made once
    more than it is recorded, and nothing is added.
    """
    if missed.recording_count:
        return explained
    project = scope.run.layers.root.absolute()
    with suppress(OSError):
        search = scope.run.state_of(OtherTests)
        name = name_of_file(root, path)
        found = search.find(root, project, name, session, missed)
        if found := [one for one in found if one.path != path]:
            alike = [] if path.exists() else _find_alike(scope, name, found)
            is_new_script = not (path.exists() or scope.run.layers.under_pytest)
            advice: Sequence[str] = MISSPELT if alike else () if is_new_script else ADVICE
            if not path.exists() and _is_of_same_function(scope, name, found[0].name):
                command = renamed_tests.move_command(found[0].name, name, root, scope.run.layers)
                advice = (OTHER_ID, "", f"  {command}", "", *ADVICE)
            return name_place(explained, session, alike or found, advice)
    return explained


def mention_outer_folder(explained: Explanation, scope: Scope, session: Session, root: Path, path: Path) -> Explanation:
    """Add to the explanation of a miss that its cassette exists below a root folder around the present one.

    That is so if a package has settings of pytest of its own, and was recorded from the folder of the repository.
    """
    layers = scope.run.layers
    project = layers.root.absolute()
    if not root.is_relative_to(project) or is_written(scope, name_of_file(root, path)):
        return explained
    inner = project
    for folder in project.parents:
        if (inner / ".git").exists():
            break
        recorded = folder / root.relative_to(project) / project.relative_to(folder) / path.relative_to(root)
        if recorded.exists():
            # With `-c` the settings and the conftest of the outer folder are in force, too, as in the recording run.
            ini = pytest_settings.find_settings_file(folder)
            words = [f"--rootdir={layers.path_to_type(folder)}"] if ini is None else ["-c", layers.path_to_type(ini)]
            option = join_words(words)
            place = f"It is recorded in {layers.shown_path(recorded)},\nwith another root folder of pytest: {option}"
            return replace(explained, text=explained.text + session.redactor.redact_text(f"\n\n{place}"))
        inner = folder
    return explained


def _is_of_same_function(scope: Scope, name: str, other: str) -> bool:
    """Whether ``name`` is the own cassette of a test, and ``other`` of the same function with other parameters."""
    is_own = scope.owns_cassette and name == scope.default_cassette
    functions = {(folder, last.partition("-")[0]) for folder, _, last in (name.rpartition("/"), other.rpartition("/"))}
    return is_own and len(functions) == 1


def is_written(scope: Scope, name: str) -> bool:
    """Whether somebody has written the name of a cassette of ``scope``, so that it may be misspelt.

    Fixtures, tasks and child processes of a test have names that nobody has written, and so has the test itself.
    """
    is_own = scope.owns_cassette and name == scope.default_cassette
    return scope.is_owner and scope.kind in ("test", "block", "call") and not is_own


def _find_alike(scope: Scope, name: str, found: Sequence[StoredCassette]) -> list[StoredCassette]:
    """Return the cassette whose name is most similar to ``name``, if somebody has written that; else nothing."""
    if not is_written(scope, name):
        return []
    nearest = find_nearest(name.rpartition("/")[2], [one.name.rpartition("/")[2] for one in found])
    return [one for one in found if one.name.rpartition("/")[2] == nearest][:1]
