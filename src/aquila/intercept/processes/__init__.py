"""Keeps child processes, and threads that outlive a run, within the run: its cassettes and its guard hold in them too.

Begin with ``child_processes``, which writes the variable by which child processes learn of the run. ``parent_run``
joins the run in the child. ``fork_server`` does so for processes that a fork server of ``multiprocessing`` forks, and
``started_children`` prepares for a child that is started. ``pool_workers`` lets workers of ``multiprocessing.Pool``
report a miss that a client has wrapped. ``left_threads`` guards threads that outlive the run.

Imported by ``activation`` and ``pytest_aquila``.
"""
