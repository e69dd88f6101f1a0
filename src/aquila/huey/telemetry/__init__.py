"""What is recorded of tasks: a log of everything that happens to them, and OpenTelemetry's spans and metrics.

``task_log`` is the log, ``log_files`` are its files. ``task_spans`` and ``task_metrics`` are for OpenTelemetry.

``queue_time`` says how long a task has waited.
"""
