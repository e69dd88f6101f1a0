"""``aquila jobs`` and ``aquila dead-letters ...``: subcommands about the queue of a Huey.

``jobs`` serves the page of jobs. ``hueys`` imports the Huey that ``--huey`` names. ``dead_letters`` has the code that
the subcommands about dead letters share.

Begin with the subcommand. Imported by nobody. ``cli`` finds the subcommands by their names.
"""
