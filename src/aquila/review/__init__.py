"""Reviews of recordings that wait beside their cassettes: the proposals, the decisions, and applying them.

``alignment.py`` matches the recordings of a pending file with those of its cassette; begin there. ``proposals.py``
turns the differences into questions, ``kept_decisions.py`` keeps the answers, and ``applying.py`` writes the files.
``given_ids.py`` finds the recordings of one conversation, and requests that differ only in ids. ``texts.py`` writes
requests and answers as text, and ``tested_by.py`` finds the tests that use a cassette. ``reviewing.py`` is the
interface for a terminal or a page, and ``views.py`` describes a proposal for both. Nothing here prints or asks.

Imported by ``cli`` and ``server``.
"""
