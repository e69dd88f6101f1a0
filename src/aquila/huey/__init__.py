"""Huey tasks that talk to language models: classes of Huey, a serializer, streams in tasks, tasks around a prompt.

Only this package imports Huey. It is imported by ``testing``, by ``cli`` for its commands, and by ``pytest_aquila``.
Begin reading with ``instances``, the classes (``typed_methods`` tells type checkers of Huey's own methods,
``instrumenting`` gives a Huey that exists the class, ``huey_paths`` imports one that is named). Names are imported when
they are first used.

- Messages: ``task_ids`` makes the ids of tasks, ``task_attributes`` keeps apart what is noted on them; ``serializer``,
  ``wire_format``, ``task_messages``, ``sendable_values``, ``message_fields``, ``message_bounds``; ``redis_connections``
  refuses connections that cannot carry them, ``sqlite_files`` waits for files that are locked, and
  ``connections_at_fork`` keeps connections to databases from children.
- Enqueuing: ``enqueue_check`` compares arguments with parameters there.
- A task that runs: ``task_wrapper``, ``task_types``, ``task_code``, ``running_task``, ``task_ends``; ``prompt_tasks``
  are tasks around a prompt (``prompt_task_options`` are the types of their options), ``prompt_templates`` those whose
  prompt is a text with fields. ``scope_reference`` and ``task_scope`` give it the cassette of the test that enqueued
  it; ``joined_scopes`` are those of other processes; by ``scope_sharing`` processes tell each other what they replayed
  and missed, and ``watched_jobs`` notes executions for the report of a run. ``error_texts`` says what is told of an
  error, ``clock_of_test`` is a clock that a test has put forward. The time limit of a task is Huey's, around what
  ``instances`` encloses its code in; ``progress.task_watch`` ends its streams then, and ``prompt_tasks`` gives its
  calls what is left of it.
- ``delivery``: no task is lost. ``limits``: rate limits, budgets, unique jobs. ``progress``: checkpoints, and streams
  that end with their task. ``state``: what workers share. ``live``: jobs that can be watched, and their page.
  ``telemetry``: logs and OpenTelemetry. ``testing``: what tests use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

if TYPE_CHECKING:
    from aquila.engine.streams.cut_answers import Prefill as Prefill
    from aquila.huey.delivery.consumer_heartbeats import ConsumerEntry as ConsumerEntry
    from aquila.huey.delivery.consumer_heartbeats import list_consumers as list_consumers
    from aquila.huey.delivery.dead_letters import DeadLetter as DeadLetter
    from aquila.huey.delivery.dead_letters import DeadLetters as DeadLetters
    from aquila.huey.delivery.dead_letters import dead_letters as dead_letters
    from aquila.huey.delivery.pruning import Pruned as Pruned
    from aquila.huey.delivery.pruning import add_pruner as add_pruner
    from aquila.huey.delivery.pruning import prune_results as prune_results
    from aquila.huey.delivery.rescuer import requeue_lost_tasks as requeue_lost_tasks
    from aquila.huey.instances import AquilaHuey as AquilaHuey
    from aquila.huey.instances import FileHuey as FileHuey
    from aquila.huey.instances import MemoryHuey as MemoryHuey
    from aquila.huey.instances import PostgresHuey as PostgresHuey
    from aquila.huey.instances import PriorityRedisHuey as PriorityRedisHuey
    from aquila.huey.instances import RedisHuey as RedisHuey
    from aquila.huey.instances import SqliteHuey as SqliteHuey
    from aquila.huey.instrumenting import instrument as instrument
    from aquila.huey.limits.idempotency import idempotency_key as idempotency_key
    from aquila.huey.limits.limits_without_task import LimitedRequest as LimitedRequest
    from aquila.huey.limits.limits_without_task import limited as limited
    from aquila.huey.limits.limits_without_task import within_limits as within_limits
    from aquila.huey.limits.rescheduling import Rescheduling as Rescheduling
    from aquila.huey.limits.rescheduling import TaskRescheduled as TaskRescheduled
    from aquila.huey.limits.settings import set_limits as set_limits
    from aquila.huey.limits.unique_jobs import is_conflict as is_conflict
    from aquila.huey.limits.unique_settings import Unique as Unique
    from aquila.huey.progress.checkpoints import checkpoint as checkpoint
    from aquila.huey.progress.checkpoints import once as once
    from aquila.huey.progress.checkpoints import partial_answer as partial_answer
    from aquila.huey.progress.following import afollow as afollow
    from aquila.huey.progress.following import follow as follow
    from aquila.huey.prompt_task_options import PromptTaskOptions as PromptTaskOptions
    from aquila.huey.prompt_task_options import StreamTaskOptions as StreamTaskOptions
    from aquila.huey.prompt_tasks import StoredAnswer as StoredAnswer
    from aquila.huey.prompt_tasks import StoredUsage as StoredUsage
    from aquila.huey.prompt_tasks import ask_task as ask_task
    from aquila.huey.prompt_tasks import stream_task as stream_task
    from aquila.huey.running_task import CurrentTask as CurrentTask
    from aquila.huey.running_task import current_task as current_task
    from aquila.huey.serializer import MsgpackSerializer as MsgpackSerializer
    from aquila.huey.task_types import Result as Result
    from aquila.huey.task_types import Task as Task
    from aquila.huey.task_wrapper import AquilaTaskWrapper as AquilaTaskWrapper
    from aquila.huey.telemetry.task_log import TaskLog as TaskLog
    from aquila.huey.telemetry.task_log import TaskLogEntry as TaskLogEntry
    from aquila.huey.telemetry.task_metrics import TaskMetrics as TaskMetrics
    from aquila.huey.telemetry.task_spans import TaskSpans as TaskSpans

_NAMES = {
    "AquilaHuey": "instances",
    "AquilaTaskWrapper": "task_wrapper",
    "ConsumerEntry": "delivery.consumer_heartbeats",
    "CurrentTask": "running_task",
    "DeadLetter": "delivery.dead_letters",
    "DeadLetters": "delivery.dead_letters",
    "FileHuey": "instances",
    "LimitedRequest": "limits.limits_without_task",
    "MemoryHuey": "instances",
    "MsgpackSerializer": "serializer",
    "PostgresHuey": "instances",
    "Prefill": "aquila.engine.streams.cut_answers",
    "PriorityRedisHuey": "instances",
    "PromptTaskOptions": "prompt_task_options",
    "Pruned": "delivery.pruning",
    "RedisHuey": "instances",
    "Rescheduling": "limits.rescheduling",
    "Result": "task_types",
    "SqliteHuey": "instances",
    "StoredAnswer": "prompt_tasks",
    "StoredUsage": "prompt_tasks",
    "StreamTaskOptions": "prompt_task_options",
    "Task": "task_types",
    "TaskLog": "telemetry.task_log",
    "TaskLogEntry": "telemetry.task_log",
    "TaskMetrics": "telemetry.task_metrics",
    "TaskRescheduled": "limits.rescheduling",
    "TaskSpans": "telemetry.task_spans",
    "Unique": "limits.unique_settings",
    "add_pruner": "delivery.pruning",
    "afollow": "progress.following",
    "ask_task": "prompt_tasks",
    "checkpoint": "progress.checkpoints",
    "current_task": "running_task",
    "dead_letters": "delivery.dead_letters",
    "follow": "progress.following",
    "idempotency_key": "limits.idempotency",
    "instrument": "instrumenting",
    "is_conflict": "limits.unique_jobs",
    "limited": "limits.limits_without_task",
    "list_consumers": "delivery.consumer_heartbeats",
    "once": "progress.checkpoints",
    "partial_answer": "progress.checkpoints",
    "prune_results": "delivery.pruning",
    "requeue_lost_tasks": "delivery.rescuer",
    "set_limits": "limits.settings",
    "stream_task": "prompt_tasks",
    "within_limits": "limits.limits_without_task",
}
"""Every public name and the module that defines it: one of this package, but for those in full."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(__name__, {
        name: module if module.startswith("aquila.") else f"{__name__}.{module}" for name, module in _NAMES.items()
    }, extra="huey")  # fmt: skip
