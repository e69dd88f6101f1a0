"""How tasks reach a worker, and what becomes of those that none could finish or read. No task is lost.

``delivering_huey`` is where Huey calls this package: begin reading there. ``tasks_in_hand`` knows what a process has
taken and not finished, and hands it back where the process must stop. With ``keep_running`` a copy lies in the storage
while a task runs (``running_copies``, which ``choosing_copies`` picks for a storage), consumers show by a heartbeat
that they live (``consumer_life``), and each takes over the tasks of those that do not (``rescuer``). What cannot be
read, and what failed for good, goes to the ``dead_letters``; ``claimed_jobs`` says of which job a message claims to be
that nobody can read. ``pruning`` forgets old results.
"""
