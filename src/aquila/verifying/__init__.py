"""Send recorded requests to the upstream again, and report how the answers differ. Only the report is written.

Begin with ``verification``. ``planning`` chooses what is asked, ``asking`` asks, ``comparison`` compares, by ``shapes``
and the types of the provider's SDK (``sdk_types``); ``credentials`` and ``live_ids`` put in what only a live request
has. ``answers`` reads an answer, ``report`` writes what was found. Answers are compared by shape first: the text of an
answer is never the same twice.

Imported by ``review`` and ``pytest_aquila``.
"""
