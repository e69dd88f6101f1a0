"""A review of recordings that wait beside their cassettes: what is proposed, what was decided, and doing it.

``alignment.py`` says which recording of a pending file stands for which of its cassette; begin there. ``proposals.py``
makes questions of them, ``decisions.py`` keeps the answers, and ``applying.py`` writes the files. ``reviewing.py`` is
what a terminal or a page talks to, ``views.py`` what both show. Nothing here prints or asks.
"""
