"""``aquila cassettes ...``: one module for each subcommand, named after it.

``cassette_folders`` finds the folders of a project. ``unused_report`` and ``unrecorded_tests`` read what the last test
runs noted, for ``prune`` and ``drift``. ``aquila cassettes review`` has a room of its own, ``reviewing``.
"""
