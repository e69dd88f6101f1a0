"""The YAML form of a cassette, for people: readable in a review, exact to the byte.

Begin with ``codec``. ``writer`` and ``emitter`` turn a cassette into text; ``parser`` and ``reader`` turn text into a
cassette.
"""
