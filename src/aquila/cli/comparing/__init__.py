"""Compares two versions of a cassette and shows the differences, for ``diff``, ``merge`` and ``review``.

Begin with ``compared_files`` (two files) or ``branch_diff`` (two branches, which ``git_versions`` reads).
``interaction_summary`` describes a recording in a few lines, ``frame_differences`` compares conversations over
WebSockets, and ``diff_markdown`` writes a comment for a pull request.

Imported by ``cassettes``.
"""
