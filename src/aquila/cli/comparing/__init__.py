"""Compares two versions of a cassette and shows the differences, for ``diff``, ``merge`` and ``review``.

Begin with ``compared_files``, which chooses the versions; ``git_versions`` reads those in git. ``cassette_changes``
compares and prints them, and ``diff_markdown`` writes a comment for a pull request. ``interaction_summary`` describes
a recording in a few lines.

Imported by ``cassettes``.
"""
