"""What keeps the tasks of many workers within bounds: providers' limits, limits of one's own, budgets, unique jobs.

- ``rescheduling``: a task whose provider asks it to come back later leaves its worker until then. Begin here.
- ``task_gate``: what every request of a task passes.
"""
