"""Reviews of recordings that wait beside their cassettes: the proposals, the decisions, and applying them.

``alignment.py`` matches the recordings of a pending file with those of its cassette; begin there. ``proposals.py``
turns the differences into questions, ``kept_decisions.py`` keeps the answers, and ``applying.py`` writes the files;
``unfinished.py`` finishes what a killed review was about to write. ``chains.py`` finds the questions of one
conversation, ``renamed_ids.py`` requests that differ in ids alone, ``texts.py`` says what requests and
answers say, ``tested_by.py`` which tests use a cassette. ``reviewing.py`` is the interface for a terminal or a page,
and ``views.py`` what both show. Nothing here prints or asks.

Imported by ``cli`` and ``server``.
"""
