"""Huey with language models in its tasks: deterministic in tests, at ease with long answers in production.

``aquila.huey.testing`` has what tests use. Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aquila.huey._current import CurrentTask as CurrentTask
    from aquila.huey._current import current_task as current_task
    from aquila.huey.instances import AquilaHuey as AquilaHuey
    from aquila.huey.instances import FileHuey as FileHuey
    from aquila.huey.instances import MemoryHuey as MemoryHuey
    from aquila.huey.instances import PostgresHuey as PostgresHuey
    from aquila.huey.instances import PriorityRedisHuey as PriorityRedisHuey
    from aquila.huey.instances import RedisHuey as RedisHuey
    from aquila.huey.instances import SqliteHuey as SqliteHuey
    from aquila.huey.instances import instrument as instrument
    from aquila.huey.lost import requeue_lost as requeue_lost
    from aquila.huey.otel import TaskSpans as TaskSpans
    from aquila.huey.progress import checkpoint as checkpoint
    from aquila.huey.progress import follow as follow
    from aquila.huey.progress import once as once
    from aquila.huey.progress import partial as partial
    from aquila.huey.prompts import ask_task as ask_task
    from aquila.huey.prompts import stream_task as stream_task
    from aquila.huey.pruning import add_pruner as add_pruner
    from aquila.huey.pruning import prune as prune
    from aquila.huey.serializer import MsgpackSerializer as MsgpackSerializer
    from aquila.huey.telemetry import Record as Record
    from aquila.huey.telemetry import TaskLog as TaskLog

_NAMES = {
    "AquilaHuey": "instances",
    "CurrentTask": "_current",
    "FileHuey": "instances",
    "MemoryHuey": "instances",
    "MsgpackSerializer": "serializer",
    "PostgresHuey": "instances",
    "PriorityRedisHuey": "instances",
    "Record": "telemetry",
    "RedisHuey": "instances",
    "SqliteHuey": "instances",
    "TaskLog": "telemetry",
    "TaskSpans": "otel",
    "add_pruner": "pruning",
    "ask_task": "prompts",
    "checkpoint": "progress",
    "current_task": "_current",
    "follow": "progress",
    "instrument": "instances",
    "once": "progress",
    "partial": "progress",
    "prune": "pruning",
    "requeue_lost": "lost",
    "stream_task": "prompts",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
