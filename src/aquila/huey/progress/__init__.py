"""The progress that a task keeps for its retry, and streams that end when their task must end.

Begin with ``following``: it reads the events of a stream. ``task_watch`` watches the task meanwhile, from other
threads. ``checkpoints`` keeps values for a retry. ``storage_patience`` asks a storage again that does not answer, and
``patient_results`` does so where Huey begins and ends a task.
"""
