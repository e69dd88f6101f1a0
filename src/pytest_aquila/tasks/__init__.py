"""Tests of Huey tasks: the fixtures, their short names, and testing mode, which keeps a run away from real queues.

Begin with ``task_fixtures``. ``short_names`` offers the fixtures without their prefix if a Huey is under test.
``testing_mode`` puts Hueys under test for the whole run, and ``named_hueys`` finds these Hueys.

Imported by ``fixture_names`` and ``advice``.
"""
