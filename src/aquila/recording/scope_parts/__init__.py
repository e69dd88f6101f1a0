"""The parts of a scope, each with one job. The scope makes and keeps them.

Begin with ``scope_part`` (what all of them share). ``scope_scripts``, ``scope_faults`` and ``scope_misses`` are the
parts. The sessions of a scope are a part, too; they are in ``sessions``.

Imported by ``recording.scope`` and ``recording.sessions``. Everybody else takes the parts from the scope.
"""
