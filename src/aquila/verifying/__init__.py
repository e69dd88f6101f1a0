"""Send recorded requests to the upstream again, and report how the answers differ. Only the report is written.

Begin with ``verification``. ``planning`` chooses what is asked, ``asking`` asks, ``comparison`` compares. Answers are
compared by shape first: the text of an answer is never the same twice.
"""
