"""The YAML form of a cassette, for people: readable in a review, exact to the byte.

Begin with ``codec``. ``writer`` and ``emitter`` turn a cassette into text, ``parser`` and ``reader`` turn text into a
cassette, ``reply_text`` finds the text that an answer is about.
"""
