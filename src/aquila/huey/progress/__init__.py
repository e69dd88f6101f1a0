"""What a task keeps of its work, and streams that end when their task must end.

Begin with ``following``: it reads the events of a stream. ``watching`` watches the task meanwhile, from other threads.
``checkpoints`` keeps values for a retry. ``storage_patience`` is how all of them meet a storage that is away.

``patient_results`` begins and ends tasks where the storage is away for a while.
"""
