"""Notes modules that lack what Aquila patches: an unknown version of a library, or another module of the same name."""

from __future__ import annotations

import sys
from types import ModuleType

from aquila.intercept import activation
from aquila.recording import runtime
from aquila.recording.reporting import child_messages


def note_unknown_module(name: str, module: ModuleType, error: Exception) -> None:
    """Note for the summary of the test run that the module ``name`` stays unpatched because of ``error``.

    A module that a test has put in its place is not noted. For a module of the standard library ``error`` is raised:
    nothing is guarded without these patches, and each supported version of Python has what they need.
    """
    if getattr(module, "__spec__", None) is None:
        return
    library = name.partition(".")[0]
    if library in sys.stdlib_module_names:
        raise error
    version = getattr(sys.modules.get(library), "__version__", None)
    known_as = f"{library} {version}" if isinstance(version, str) else f"the module {name} ({module.__file__})"
    lacking = f"it has no {error.name}" if isinstance(error, AttributeError) and error.name else str(error)
    unknown = f"Aquila does not know {known_as}: {lacking}, so"
    if any(each.partition(".")[0] == library for each in activation.WITHOUT_SOCKETS):
        note_unguarded(f"{unknown} what it sends is neither recorded nor refused")
    else:
        sentence = f"{unknown} what it sends to providers is recorded, replayed or refused at Python's sockets"
        runtime.current_run().notes[sentence, ""] = None
        _tell_parent(sentence, is_unguarded=False)


def note_unguarded(sentence: str) -> None:
    """Note ``sentence`` for the summary of the test run. It is about something that the guard cannot see."""
    runtime.current_run().unguarded[sentence] = None
    _tell_parent(sentence, is_unguarded=True)


def _tell_parent(sentence: str, *, is_unguarded: bool) -> None:
    run = runtime.current_run()
    if not (run.runs_tests and run.is_here):  # a child process, whose parent writes the summary
        child_messages.messages_folder(run)
        run.state_of(child_messages.ChildMessages).tell_note(sentence, is_unguarded=is_unguarded)
