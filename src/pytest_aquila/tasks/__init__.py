"""Tests of Huey tasks: the fixtures, their short names, and what keeps a run away from real queues.

Begin with ``task_fixtures``. ``short_names`` offers them without their prefix where ``aquila_huey`` is set,
``testing_mode`` puts all Hueys that it names under test for the whole run; ``named_hueys`` says which these are.

Imported by ``fixture_names`` and ``advice``.
"""
