"""``aquila cassettes review``: reviews pending recordings one by one in a terminal.

``cassettes_review`` is the subcommand, ``review_loop`` asks, ``review_screen`` prints, ``review_keys`` reads keys.
``unrecorded_tests_text`` names the tests without a recording. The review itself is in ``aquila.review``, its page in
``aquila.server.review_page``.

Begin with ``cassettes_review``. Imported by ``comparing``. ``cli`` finds the subcommand by its name.
"""
