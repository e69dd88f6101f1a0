"""Brings tasks to workers, and keeps tasks that no worker could finish or read. No task is lost.

- ``delivering_huey``: the methods of Huey that call this package. Begin reading here.
- ``tasks_in_hand``: the tasks that a process has taken and not finished. When the process must stop, it enqueues them
  again (``handing_back``). ``consumer`` is Huey's consumer, which then takes no more tasks.
- With ``keep_running`` the storage keeps a copy of a task while the task executes. ``kept_copies`` are the copies of a
  process, and ``running_copies`` is the interface to a storage. ``choosing_copies`` chooses its implementation:
  ``redis_copies`` or ``sql_copies``.
- ``consumer_heartbeats``: each consumer with ``keep_running`` sends heartbeats. ``rescuer`` takes over the tasks of
  consumers that send none. (The heartbeats for the page of jobs are in ``live.worker_heartbeats``.)
- ``dead_letters``: messages that nobody can read, and tasks that failed for good. ``burying`` makes them.
  ``unknown_tasks`` reads messages whose task is not registered here.
- ``unsendable``: ends a task whose result, retry or following task cannot be sent.
- ``pruning``: removes old results. ``result_keys`` lists their keys.

Imported by ``instances``, ``limits``, ``live``, ``scopes``, ``testing`` and ``cli``.
"""
