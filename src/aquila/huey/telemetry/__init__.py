"""What is recorded about tasks: a log of all that happens to them, and spans and metrics for OpenTelemetry.

``task_log`` is the log, ``log_files`` are its files. ``task_spans`` and ``task_metrics`` are for OpenTelemetry.

``queue_time`` says how long a task has waited.

Begin with ``task_log``. Imported by ``message_fields``.
"""
