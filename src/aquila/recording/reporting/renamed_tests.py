"""Finds the recording of a missed request in the cassette of a test that is gone: it may have been renamed or moved.

It searches only cassettes whose test is gone as far as the sources tell, and only for what would answer the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import is_name_of_fixture, module_of_folder, name_of_file
from aquila.cassettes.storage.recorded_uses import read_uses
from aquila.recording.reporting.cassette_search import CassetteSearch, StoredCassette, name_place
from aquila.recording.reporting.gone_tests import Sources
from aquila.recording.storing.pending_files import shown_path
from aquila.shell_words import join_words

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.config import SettingsLayers
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest

_SENTENCE = "tests miss what is recorded for tests that are gone. Were they renamed?"
"""What the summary says of the renames, each with its command."""


class RenamedTests(CassetteSearch):
    """Searches the orphans: the cassettes whose tests are gone."""

    def choose_searched(self, stored: Iterable[StoredCassette], root: Path, project: Path) -> Iterator[StoredCassette]:
        """Yield those whose tests are gone."""
        sources = Sources(project)
        users: dict[str, list[str]] = {}
        for cassette, test in read_uses(root):
            users.setdefault(cassette, []).append(test)
        for one in stored:
            folder, _, last = one.name.rpartition("/")
            tests = users.get(one.name)
            if tests is not None:
                is_gone = all(sources.is_gone(*test.partition("::")[::2]) for test in tests)
            else:
                module = module_of_folder(folder)
                is_gone = (
                    module is not None
                    and _looks_like_a_module(folder, module, project)
                    and (sources.is_fixture_gone if is_name_of_fixture(last) else sources.is_gone)(f"{module}.py", last)
                )
            if is_gone:
                yield one


def _looks_like_a_module(folder: str, module: str, project: Path) -> bool:
    """Whether a folder of cassettes belongs to a test module, by its name or because the module exists."""
    last = folder.rpartition("/")[2]
    return last.startswith("test_") or last.endswith("_test") or (project / f"{module}.py").is_file()


def mention_rename(
    explained: Explanation, scope: Scope, session: Session, root: Path, path: Path, missed: MissedRequest
) -> Explanation:
    """Add to the explanation of a miss in which cassette of a gone test the same request is recorded, if in any.

    ``path`` is the file of the session's cassette, in the folder ``root``. If it exists, nothing is added: no other
    file could take its place.
    """
    if path.exists():
        return explained
    run = scope.run
    mine = name_of_file(root, path)
    with suppress(OSError):
        found = run.state_of(RenamedTests).find(root, run.layers.root.absolute(), mine, session, missed)
        if found:
            command = move_command(found[0].name, mine, root, run.layers)
            if run.runs_tests and run.is_here:
                run.notes[_SENTENCE, command] = None
            else:  # a child process, whose parent writes the summary
                scope.child_messages.tell_note(_SENTENCE, command)
            advice = ["No test of that name is left. Was it renamed? To move its recordings:", "", f"  {command}"]
            return name_place(explained, session, found, advice)
    return explained


def move_command(old: str, new: str, root: Path, layers: SettingsLayers) -> str:
    """Return the command that moves the recordings of a module, a class, a test with parameters, or one cassette.

    ``old`` and ``new`` are names of cassettes in the folder ``root``. ``layers`` are those of the run.
    """
    project = layers.root.absolute()
    old_folder, _, old_last = old.rpartition("/")
    new_folder, _, new_last = new.rpartition("/")
    old_module, new_module = module_of_folder(old_folder), module_of_folder(new_folder)
    words = [old, new]
    is_named_after_tests = (
        old_module is not None
        and new_module is not None
        and _looks_like_a_module(old_folder, old_module, project)
        and (project / f"{new_module}.py").is_file()
    )
    if is_named_after_tests:
        paths = [layers.path_to_type(project / f"{module}.py") for module in (old_module, new_module)]
        parts = [re.fullmatch(r"([^-@]*?)(\.?@.*|-.*|)", last) for last in (old_last, new_last)]
        tests = [part[1].replace(".", "::") for part in parts if part is not None]
        rests = {part[2] for part in parts if part is not None}  # parameters, or a fixture of the class
        if old_last == new_last and not (project / f"{old_module}.py").exists():
            words = paths
        elif "+" not in old_last + new_last and all(tests) and len(rests) == 1:
            words = [f"{path}::{test}" for path, test in zip(paths, tests, strict=True)]
    if root != layers.resolve().cassette_root():
        words += ["--dir", str(shown_path(root))]
    return f"aquila cassettes mv {join_words(words)}"
