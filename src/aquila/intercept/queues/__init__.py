"""Watches what a test enqueues, so that no job of a test gets into a real queue.

Begin with ``watched_queues``, which sees each job before it enters a queue. ``parent_queues`` refuses jobs in child
processes, and ``queue_places`` names the places of queues.

Imported by ``processes`` and ``huey``.
"""
