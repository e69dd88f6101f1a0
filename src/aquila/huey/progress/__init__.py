"""The progress that a task keeps for its retry, and streams that end when their task must end.

Begin with ``following``: it reads the events of a stream. ``task_watch`` watches the task meanwhile, from other
threads. It also ends the stream at the time limit of the task, or when the task is revoked. ``resuming`` goes on where
an earlier attempt has stopped. ``checkpoints`` keeps values for a retry, and ``kept_progress`` stores them.
``storage_patience`` asks a storage again that does not answer, and ``patient_results`` does so where Huey begins and
ends a task.

Imported by the modules of ``huey``, by ``delivery``, ``live`` and ``telemetry``.
"""
