"""The progress that a task keeps for its retry, and streams that end when their task must end.

Begin with ``following``: it reads the events of a stream. Meanwhile ``task_watch`` watches the task from another
thread, and ends the stream when the task is revoked. ``resuming`` continues the answer of an earlier attempt.
``checkpoints`` keeps values for a retry, and ``kept_progress`` stores them. ``storage_patience`` asks again a storage
that does not answer. ``patient_results`` uses it where Huey begins and ends a task.

Imported by the modules of ``huey``, by ``tasks``, ``delivery``, ``live`` and ``telemetry``.
"""
