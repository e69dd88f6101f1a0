"""Seals a run: moves it into a network namespace with only a loopback, so that the kernel refuses all else. Linux only.

``namespace`` enters a namespace, and checks whether this process is sealed. ``handed_ports`` makes single ports of the
machine reachable in it. ``entering`` is the program that does both and then executes the run. ``explanation`` explains
why the kernel refuses to seal a run.

Begin with ``entering``. Imported by ``pytest_aquila``.
"""
