"""The functions that are tasks, their execution, and tasks that send a prompt.

- A decorated function: ``task_wrapper``, where one begins to read, with ``task_types`` for type checkers.
  ``task_functions`` finds the function of a task and its parameters, and ``enqueue_check`` compares arguments with them
  when a task is enqueued. ``task_ids`` makes the ids of tasks, and ``message_fields`` has the fields that Aquila adds
  to their messages.
- An execution: ``task_code`` wraps the code of a task, ``running_task`` is the task that executes here, and
  ``task_ends`` has the marks of its outcome. ``task_locks`` has the decorators ``lock_task`` and ``rate_limit``, and
  ``django_connections`` closes the connections of async tasks.
  The time limit of a task is Huey's: ``progress.task_watch`` ends the streams of the task at that limit, and
  ``prompt_tasks`` gives a call only the time that is left.
- Tasks that send a prompt: ``prompt_tasks``, with ``prompt_task_options`` for the types of their options, and
  ``prompt_templates`` for a prompt that is a text with fields.

Imported by the modules of ``huey`` and by its other folders.
"""
