"""A sealed run: a network namespace with nothing but its loopback, in which the kernel refuses everything. Linux only.

``namespace`` enters one, and sees whether this process is in one; ``handed_ports`` carries single ports of the machine
into it; ``entering`` is the program that does both and then becomes the run; ``explanation`` says why it may not be.

Begin with ``entering``. Imported by ``pytest_aquila``.
"""
