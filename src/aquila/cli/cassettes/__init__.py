"""``aquila cassettes ...``: one module for each subcommand.

``cassettes_prune`` is ``aquila cassettes prune``, and so on. ``cassette_folders`` finds the cassette folders of a
project. ``aquila cassettes review`` has a package of its own, ``reviewing``.

Begin with the subcommand. Imported by ``project`` and ``comparing``. ``cli`` finds the subcommands by their names.
"""
