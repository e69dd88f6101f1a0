"""Send recorded requests to the upstream again, and report how the answers differ. Only the report is written.

Begin with ``verification``. ``planning`` chooses the recordings to verify, and ``asking`` sends their requests.
``credentials`` puts real keys into these requests, and ``live_ids`` ids from live answers. ``answers`` reads an answer.
``comparison`` compares two answers, by ``shapes`` and the types of the provider's SDK (``sdk_types``). ``report``
writes the results. Answers are compared by shape first, because the text of an answer is never the same twice.

Imported by ``review`` and ``pytest_aquila``.
"""
