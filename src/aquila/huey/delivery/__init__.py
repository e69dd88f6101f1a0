"""How tasks reach a worker, and what becomes of tasks that no worker could finish or read. No task is lost.

``delivering_huey`` is where Huey calls this package: begin reading there. ``tasks_in_hand`` has the tasks that a
process has taken and not finished, and hands them back when the process must stop. With ``keep_running`` the storage
keeps a copy of a task while it runs (``running_copies``, which ``choosing_copies`` chooses for a storage), consumers
send heartbeats (``consumer_heartbeats``), and each consumer takes over the tasks of those that send none (``rescuer``).
Messages that nobody can read, and tasks that failed for good, become ``dead_letters``. ``claimed_jobs`` finds out which
job an unreadable message claims to be. ``pruning`` removes old results.
"""
