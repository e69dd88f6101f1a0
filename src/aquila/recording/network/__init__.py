"""What may reach the network in a run, and how the rest fails.

Begin with ``guard`` (what is refused where no cassette answers) and ``model_hosts`` (which hosts and paths are for a
model). ``host_names`` and ``wildcards`` compare names. ``no_network`` is the error of a request that no test made.
``refusals`` are the refused requests of a test, for tests that expect them.

``model_hosts``, ``host_names`` and ``wildcards`` are pure. Imported by ``sessions`` and everything below ``recording``.
"""
