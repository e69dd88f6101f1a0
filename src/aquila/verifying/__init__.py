"""Ask the upstream again what recordings answer, and say how the answers differ. Nothing is written but the report.

Begin with ``verification``. ``planning`` chooses what is asked, ``asking`` asks, ``comparison`` compares. Answers are
compared by shape first: the text of an answer is never the same twice.
"""
