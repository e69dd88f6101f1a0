"""Huey tasks that talk to language models: Huey classes, a serializer, streams in tasks, tasks that send a prompt.

Only this package imports Huey. It is imported by ``testing``, by ``cli`` for its commands, and by ``pytest_aquila``.
Names are imported when they are first used. Begin reading with ``instances``, which has the classes.

- A Huey: ``typed_methods`` declares the types of Huey's own methods, ``instrumenting`` gives an existing Huey Aquila's
  class, and ``huey_paths`` imports a Huey by its path. ``redis_connections`` refuses connections that cannot carry
  messages, ``connections_at_fork`` closes connections before a fork, and ``stuck_connections`` those on which a time
  limit has broken off a query. ``error_texts`` writes the texts of errors.
- ``tasks`` has the decorated functions, their execution, and tasks that send a prompt. ``serializing`` turns tasks into
  messages and back. ``scopes`` finds the test, and so the cassette, of a task.
- ``delivery`` brings each task to a worker and loses none. ``limits`` has rate limits, budgets and unique jobs.
  ``progress`` has checkpoints, and streams that end with their task. ``state`` has the tables that workers share.
  ``live`` publishes the events of jobs, and has their page. ``telemetry`` has logs and OpenTelemetry. ``testing`` has
  the functions for tests.
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
    from aquila.huey.serializing.serializer import MsgpackSerializer as MsgpackSerializer
    from aquila.huey.tasks.prompt_task_options import PromptTaskOptions as PromptTaskOptions
    from aquila.huey.tasks.prompt_task_options import StreamTaskOptions as StreamTaskOptions
    from aquila.huey.tasks.prompt_tasks import StoredAnswer as StoredAnswer
    from aquila.huey.tasks.prompt_tasks import StoredUsage as StoredUsage
    from aquila.huey.tasks.prompt_tasks import ask_task as ask_task
    from aquila.huey.tasks.prompt_tasks import stream_task as stream_task
    from aquila.huey.tasks.running_task import CurrentTask as CurrentTask
    from aquila.huey.tasks.running_task import current_task as current_task
    from aquila.huey.tasks.task_types import Result as Result
    from aquila.huey.tasks.task_types import Task as Task
    from aquila.huey.tasks.task_wrapper import AquilaTaskWrapper as AquilaTaskWrapper
    from aquila.huey.telemetry.task_log import TaskLog as TaskLog
    from aquila.huey.telemetry.task_log import TaskLogEntry as TaskLogEntry
    from aquila.huey.telemetry.task_metrics import TaskMetrics as TaskMetrics
    from aquila.huey.telemetry.task_spans import TaskSpans as TaskSpans

_NAMES = {
    name: module
    for module, names in (
        ("aquila.engine.streams.cut_answers", "Prefill"),
        ("delivery.consumer_heartbeats", "ConsumerEntry list_consumers"),
        ("delivery.dead_letters", "DeadLetter DeadLetters dead_letters"),
        ("delivery.pruning", "Pruned add_pruner prune_results"),
        ("delivery.rescuer", "requeue_lost_tasks"),
        ("instances", "AquilaHuey FileHuey MemoryHuey PostgresHuey PriorityRedisHuey RedisHuey SqliteHuey"),
        ("instrumenting", "instrument"),
        ("limits.idempotency", "idempotency_key"),
        ("limits.limits_without_task", "LimitedRequest limited within_limits"),
        ("limits.rescheduling", "Rescheduling TaskRescheduled"),
        ("limits.settings", "set_limits"),
        ("limits.unique_jobs", "is_conflict"),
        ("limits.unique_settings", "Unique"),
        ("progress.checkpoints", "checkpoint once partial_answer"),
        ("progress.following", "afollow follow"),
        ("tasks.prompt_task_options", "PromptTaskOptions StreamTaskOptions"),
        ("tasks.prompt_tasks", "StoredAnswer StoredUsage ask_task stream_task"),
        ("tasks.running_task", "CurrentTask current_task"),
        ("serializing.serializer", "MsgpackSerializer"),
        ("tasks.task_types", "Result Task"),
        ("tasks.task_wrapper", "AquilaTaskWrapper"),
        ("telemetry.task_log", "TaskLog TaskLogEntry"),
        ("telemetry.task_metrics", "TaskMetrics"),
        ("telemetry.task_spans", "TaskSpans"),
    )
    for name in names.split()
}
"""Every public name, and the module that defines it: relative to this package, unless it begins with ``aquila.``"""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(__name__, {
        name: module if module.startswith("aquila.") else f"{__name__}.{module}" for name, module in _NAMES.items()
    }, extra="huey")  # fmt: skip
