"""Cassettes on disk: names, files, journals of runs, and merging.

Begin with ``cassette_files``, which loads cassettes and changes them under a lock; ``file_replacement`` replaces a file
in one step. ``names`` turns a name into a path and a test into a name, ``renaming`` moves cassettes after a rename, and
``recorded_uses`` remembers which tests used which. ``journal`` keeps the finished interactions of a running recording,
each written by ``journal_entries``, in the folder that ``work_folder`` makes, under the id of ``scope_ids``;
``merging`` puts them into a cassette, each in its slot (``recording_slots``, which also says what answers are
failures). ``cassette_lock`` lets one process at a time write a cassette. ``branch_merge`` unites what two branches of
git recorded. ``compiled_copies`` keeps a form that loads faster, and ``user_key`` tells it from what came with a
project. ``large_bodies``, ``body_writer`` and ``sound_files`` write and find the files beside a cassette.
``regular_files`` opens and lists what strangers may have put there.

Imported by ``body_file`` and everything below ``cassettes``.
"""
