"""Lets a worker of ``multiprocessing.Pool`` report a miss that a client has wrapped in an error of its own.

The errors of openai 2, anthropic and others cannot be unpickled. At such an error the thread of the pool that receives
results ends, and the test waits for ever for a result. So the miss is sent in its place.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from aquila.errors import UnansweredRequest
from aquila.intercept.patching import Patch, Undoable
from aquila.recording.miss_outcomes import walk_errors


def patch_failures(module: ModuleType) -> Iterable[Undoable]:
    """Patch ``multiprocessing.pool``, or the copy ``multiprocess.pool``: they send failures as objects of one class."""
    # Private to the library. If a version has no such class, a pool waits as it does without Aquila.
    if hasattr(module, "ExceptionWithTraceback"):
        yield Patch(module.ExceptionWithTraceback, "__reduce__", _send_miss)


def _send_miss(reduce: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
    def reduce_failure(failure: Any) -> tuple[Any, ...]:
        rebuild, (error, *rest) = reduce(failure)
        miss = next((each for each in walk_errors(error) if isinstance(each, UnansweredRequest)), None)
        return rebuild, (error if miss is None or _survives_pickle(error) else miss, *rest)

    return reduce_failure


def _survives_pickle(error: BaseException) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - the code of any library
        return False
    return True
