"""``aquila jobs`` and ``aquila dead-letters ...``: subcommands about the queue of a Huey.

``hueys`` finds the Huey that ``--huey`` names, ``dead_letters`` is what the subcommands about dead letters share.
"""
