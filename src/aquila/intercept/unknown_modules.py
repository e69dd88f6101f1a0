"""Modules that lack what Aquila patches: another version of a library than it knows, or another module of that name."""

from __future__ import annotations

import sys
from types import ModuleType

from aquila.recording import runtime

_WITHOUT_SOCKETS = ("curl_cffi", "gevent", "grpc", "pycares", "pycurl", "uvloop")
"""Libraries that connect without Python's sockets."""


def note_unknown_module(name: str, module: ModuleType, error: Exception) -> None:
    """Have the summary of the test run say that the module ``name`` stays unpatched, for the reason ``error``.

    What a test has put together in its place is not worth a word. For a module of Python, ``error`` is raised: without
    these patches nothing is guarded, and no version of Python lacks them that Aquila is made for.
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
    if library in _WITHOUT_SOCKETS:
        runtime.current_run().unguarded[f"{unknown} what it sends is neither recorded nor refused"] = None
    else:
        outcome = "what it sends to providers is recorded, replayed or refused at Python's sockets"
        runtime.current_run().notes[f"{unknown} {outcome}", ""] = None
