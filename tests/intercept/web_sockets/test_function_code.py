"""A function does something else for a while, under every name that it was bound to."""

from __future__ import annotations

import types
from typing import Any

from aquila.intercept.web_sockets.libraries.function_code import FunctionPatch

SOURCE = """
def connect(uri, *, port=80, **more):
    "How it is documented."
    return uri, port, more
"""


def load() -> Any:
    module: Any = types.ModuleType("library")
    exec(SOURCE, module.__dict__)
    return module


def test_every_name_of_a_function_does_something_else_until_it_is_undone() -> None:
    module = load()
    bound_early = module.connect
    before = (bound_early.__code__, dict(vars(module)), bound_early.__kwdefaults__)
    patch = FunctionPatch(
        module.connect, lambda original: lambda *args, **kwargs: ["patched", original(*args, **kwargs)]
    )
    assert bound_early("a", more=1) == ["patched", ("a", 80, {"more": 1})]
    patch.undo()
    assert bound_early("a", port=1) == ("a", 1, {})
    assert (bound_early.__code__, dict(vars(module)), bound_early.__kwdefaults__) == before
    assert bound_early.__doc__ == "How it is documented."


def test_what_somebody_else_put_there_since_stays() -> None:
    module = load()
    patch = FunctionPatch(module.connect, lambda original: original)

    def other() -> str:
        return "other"

    module.connect.__code__ = other.__code__
    patch.undo()
    assert module.connect() == "other"
