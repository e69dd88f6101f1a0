"""Mocks of others that answer below a client: they keep their requests, and nothing of them is recorded.

A mock stands in the place of a function or a class of the library that it mocks, and comes from somewhere else. No
mock is named here. What wraps a function of a library and says so (``functools.wraps``) is taken for the library's own:
instrumentation passes requests on.
"""

from __future__ import annotations

from typing import Any


def is_replaced(function: Any, library: str) -> bool:
    """Whether ``function``, which stands where one of ``library`` was, comes from somewhere else."""
    module = getattr(function, "__module__", None)
    return not isinstance(module, str) or module.partition(".")[0] not in (library, "aquila")


def has_foreign_cassette(connection_class: Any) -> bool:
    """Whether a class of connections is vcrpy's stub over a cassette that is not Aquila's."""
    cassette = getattr(connection_class, "cassette", None)
    return cassette is not None and type(cassette).__module__.partition(".")[0] != "aquila"
