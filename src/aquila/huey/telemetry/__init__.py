"""Records what happens to tasks: in a log, and in spans and metrics for OpenTelemetry.

Begin with ``task_log``, the log. ``task_spans`` and ``task_metrics`` are for OpenTelemetry.
``queue_time`` measures how long a task has waited.

Imported by ``tasks``.
"""
