"""The small model that runs on this machine, in a process of its own.

Begin with ``local_transport``. ``server`` starts, finds and ends the process; ``process`` is what runs in it.
"""
