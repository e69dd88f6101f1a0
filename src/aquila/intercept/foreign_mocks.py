"""Mocks of others that answer below a client: they keep their requests, and nothing of them is recorded.

A mock stands in the place of a function or a class of the library that it mocks, and comes from somewhere else. No
mock is named here. What wraps a function of a library and says so (``functools.wraps``) is taken for the library's own:
instrumentation passes requests on.
"""

from __future__ import annotations

import sys
from typing import Any

from aquila.transports import CORE_LIBRARIES


def is_replaced(function: Any, library: str) -> bool:
    """Whether ``function``, which stands where one of ``library`` was, comes from somewhere else."""
    module = getattr(function, "__module__", None)
    return not isinstance(module, str) or module.partition(".")[0] not in (library, "aquila")


def is_pool_replaced(transport: Any, library: str, method: str) -> bool:
    """Whether something else answers where a transport of httpx2 or httpx hands its requests on.

    ``library`` is the one that the transport belongs to, and ``method`` the name of the pool's method.
    """
    pool = getattr(transport, "_pool", None)
    if pool is None:
        return False
    if method in getattr(pool, "__dict__", ()):
        return True  # of this one object
    kind = type(pool)
    if kind.__module__.partition(".")[0] == "aquila":  # not built yet: it will be one of the library's own
        core: Any = sys.modules.get(CORE_LIBRARIES[library])
        if core is None:
            return False
        kind = core.AsyncConnectionPool if method == "handle_async_request" else core.ConnectionPool
    for base in kind.__mro__:
        if method in base.__dict__:
            return is_replaced(base.__dict__[method], base.__module__.partition(".")[0])
    return True


def has_foreign_cassette(connection_class: Any) -> bool:
    """Whether a class of connections is vcrpy's stub over a cassette that is not Aquila's."""
    cassette = getattr(connection_class, "cassette", None)
    return cassette is not None and type(cassette).__module__.partition(".")[0] != "aquila"
