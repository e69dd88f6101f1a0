"""Decides what may reach the network in a run, and makes the errors of refused requests.

Begin with ``guard``, which refuses requests that no cassette answers, and ``model_hosts``, the table of the hosts and
paths of models. ``host_names`` compares names. ``no_network`` has the error of a request that no test made.
``refusals`` are the refused requests of a test, for tests that expect them.

``model_hosts`` and ``host_names`` are pure. Imported by ``sessions``, ``storing`` and everything below
``recording``.
"""
