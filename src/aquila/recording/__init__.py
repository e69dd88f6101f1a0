"""What a run does with cassettes: its scopes, the sessions in them, and what it stores and reports.

Begin with ``scope`` (one test, task or block) and ``session`` (one use of a cassette, with its play counts).
``runtime`` owns the state of the run, ``session_factory`` opens sessions, which decide what ``decisions`` holds.
``conversations`` says what of a conversation is recorded anew. ``recorder`` writes journals, ``journal_merging`` brings
them into cassettes, and ``recovery`` those that a killed run left. ``model_hosts`` is the table of model providers,
``outgoing`` keeps secrets out of what is printed, and ``under_test`` says whether this process takes part in tests.
The public door, ``use_cassette``, stands in ``intercept``, because it also redirects other people's clients.
Imports ``cassettes`` and ``config``; imported by ``transports`` and everything below.
"""
