"""``aquila cassettes ...``: one module for each subcommand.

``cassettes_prune`` is ``aquila cassettes prune``, and so on. ``cassette_folders`` finds the folders of a project.
``unused_report_reader`` reads for ``prune`` what the last test run noted with ``--aquila-orphans``. ``aquila cassettes
review`` has a room of its own, ``reviewing``.

Begin with the subcommand. Imported by ``project`` and ``comparing``. ``cli`` finds the subcommands by their names.
"""
