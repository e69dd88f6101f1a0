"""Cassettes on disk: names, files, journals of runs, and merging.

- ``cassette_files`` loads cassettes, and changes them under a lock. Begin here.
- ``cassette_lock`` lets one process at a time write a cassette, and ``file_replacement`` replaces a file in one step.
- ``names`` turns a name into a path, and a test into a name. ``names_beside`` names files beside those of
  other recorders. ``renaming`` moves cassettes after a rename. ``recorded_uses`` stores which tests used which ones.
- ``journal`` writes each finished interaction of a running recording to disk, in the form of ``journal_entries``.
  ``work_folder`` makes the folder for journals and locks, and ``scope_ids`` the ids in the names of journals.
- ``merging`` merges new recordings into a cassette, and ``recording_slots`` identifies a recording in it.
  ``branch_merge`` merges the recordings of two branches of git.
- ``compiled_copies`` keeps copies that load faster. ``user_key`` is the key that proves who wrote a copy.
- ``large_bodies``, ``body_writer`` and ``sound_files`` write and find the files of large bodies beside a cassette.
- ``regular_files`` opens and lists files that strangers may have put there.

Imported by ``body_file`` and everything below ``cassettes``.
"""
