"""What may reach the network in a run, and how the rest fails.

Begin with ``guard`` (what is refused where no cassette answers) and ``model_hosts`` (which hosts and paths are for a
model). ``host_names`` and ``wildcards`` compare names, ``no_network`` is how a request fails that no test asked for,
``refusals`` is what a test sees of those that were refused.

``model_hosts``, ``host_names`` and ``wildcards`` are pure. Imported by ``sessions`` and everything below ``recording``.
"""
