"""Cassettes on disk: names, files, journals of runs, and merging.

Begin with ``cassette_files``, which loads, updates under a lock and replaces atomically. ``names`` turns a name into a
path and a test into a name. ``journal`` keeps the finished interactions of a running recording, each written by
``journal_entries``, in the folder that ``work_folder`` makes; ``merging`` puts them into a cassette.
``compiled_copies`` keeps a form that loads faster, and ``user_key`` tells it from what came with a project.
``large_bodies`` writes and finds the files of large bodies, and ``branch_merge`` unites what two branches of git
recorded. ``regular_files`` opens what strangers may have put there.
"""
