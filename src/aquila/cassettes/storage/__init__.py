"""Cassettes on disk: names, files, journals of runs, and merging.

Begin with ``cassette_files``, which loads, updates under a lock and replaces atomically. ``names`` turns a name into a
path and a test into a name. ``journal`` keeps what a running recording has finished, ``merging`` says what a file holds
afterwards, ``compiled_copies`` keeps a form that loads faster.
"""
