"""How tasks reach a worker, and what becomes of tasks that no worker could finish or read. No task is lost.

``delivering_huey`` is where Huey calls this package: begin reading there. ``tasks_in_hand`` has the tasks that a
process has taken and not finished, and hands them back when the process must stop (``handing_back``). ``consumer`` is
Huey's consumer, which takes no more tasks then; ``reading_trouble`` logs once that the storage is away. With
``keep_running`` the storage keeps a copy of a task while it runs: ``kept_copies`` are those of a process,
``running_copies`` is the interface, ``redis_copies`` and ``sql_copies`` are the storages that ``choosing_copies``
chooses from; consumers send heartbeats (``consumer_heartbeats``; those for the page of jobs are in
``live.worker_heartbeats``), and each consumer takes over the tasks of those that send none (``rescuer``). Messages that
nobody can read, and tasks that failed for good, become ``dead_letters``, by ``burying``; ``signed_results`` tells
whoever waits for them, and ``unsendable`` ends a task whose result cannot be sent. ``claimed_jobs`` finds out which job
an unreadable message claims to be, and ``unknown_messages`` reads one whose task is not registered here. When a dead
letter is retried, ``stored_errors`` removes the errors of before. ``pruning`` removes old results, whose keys
``result_keys`` lists.

Imported by ``instances``, ``limits``, ``live``, ``scope_sharing``, ``testing`` and ``cli``.
"""
