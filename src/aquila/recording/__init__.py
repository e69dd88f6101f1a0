"""What a run does with cassettes: its scopes, the sessions in them, and what it stores and reports.

Begin with ``scope`` (one test, task or block) and ``session`` (one use of a cassette, with its play counts).
``runtime`` owns the state of the run, ``session_factory`` opens sessions. ``recorder`` writes journals and merges them,
also those that a killed run left. ``model_hosts`` is the table of model providers.
The public door, ``use_cassette``, stands in ``intercept``, because it also redirects other people's clients.
Imports ``cassettes`` and ``config``; imported by ``transports`` and everything below.
"""
