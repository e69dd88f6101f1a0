"""``aquila cassettes review``: what waits beside cassettes, looked at recording by recording in a terminal.

``cassettes_review`` is the subcommand, ``review_loop`` asks, ``review_screen`` shows, ``review_keys`` reads keys. What
can be reviewed, and the page for it, is in ``aquila.review``.
"""
