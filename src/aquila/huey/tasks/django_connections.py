"""Django's connections to databases. Imports nothing of Django, which a project without it does not have."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from aquila.lazy_imports import find_loaded


def list_connections() -> list[Any]:
    """Return the connections of this thread."""
    database: Any = find_loaded("django.db")
    conf: Any = find_loaded("django.conf")
    if database is None or conf is None or not conf.settings.configured:
        return []
    return list(database.connections.all(initialized_only=True))


def with_own_connections(coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    """Return the coroutine of a task. In Django its queries run in a thread of its own, and no connection is left.

    Otherwise all event loops of a process share one thread of Django's, whose connections nobody closes: djhuey's
    ``db_task`` closes those of the worker's thread. One that has broken would fail every later task.
    """
    asgiref = find_loaded("asgiref.sync")
    return coroutine if asgiref is None else _run_with_own_connections(coroutine, asgiref)


async def _run_with_own_connections(coroutine: Coroutine[Any, Any, Any], asgiref: Any) -> Any:
    # Set and not entered, which would leave the one of a view in force. In immediate mode its thread may wait for this.
    threads, own = asgiref.SyncToAsync, asgiref.ThreadSensitiveContext()
    threads.thread_sensitive_context.set(own)
    try:
        return await coroutine
    finally:
        # It has a thread only if sync code ran, and not where that ran in the thread of an async test.
        thread = threads.context_to_thread_executor.pop(own, None)
        if thread is not None:
            closing = thread.submit(_close_connections)
            thread.shutdown(wait=False)
            # A task that is cancelled, as by its time limit, does not wait for sync code that may hang there.
            if isinstance(sys.exception(), Exception | None):
                await asyncio.wrap_future(closing)
                thread.shutdown()


def _close_connections() -> None:
    for connection in list_connections():
        connection.close()
