"""The parts of a scope, each with one job: its scripts, its faults, its misses. The scope makes and keeps them.

Begin with ``scope_part`` (what all of them share). The sessions of a scope are a part, too; they are in ``sessions``.

Imported by ``recording.scope`` and ``recording.sessions``. Everybody else takes the parts from the scope.
"""
