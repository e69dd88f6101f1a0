"""Event streams (server-sent events), folded: what events share is written once, what varies is a row of a table.

Begin with ``fold_reader``, whose docstring describes the form; ``fold_writer`` makes it.
"""
