"""Recognises mocks of other tools below a client. A mock answers its requests itself, and nothing is recorded.

A mock replaces a function or class of the library by one that is defined in another module, so no mock needs to be
known by name. A wrapper made with ``functools.wraps`` has the module of the original and counts as the library's own:
instrumentation wraps functions in this way, and passes requests on.
"""

from __future__ import annotations

from typing import Any


def is_replaced(function: Any, library: str) -> bool:
    """Whether ``function``, which is in the place of one of ``library``, is defined in another package."""
    module = getattr(function, "__module__", None)
    return not isinstance(module, str) or module.partition(".")[0] not in (library, "aquila")


def has_foreign_cassette(connection_class: Any) -> bool:
    """Whether a class of connections is vcrpy's stub over a cassette that is not Aquila's."""
    cassette = getattr(connection_class, "cassette", None)
    return cassette is not None and type(cassette).__module__.partition(".")[0] != "aquila"
