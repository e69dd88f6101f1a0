"""What a run does with cassettes: its scopes, the sessions in them, and what it stores and reports.

Begin with ``runtime`` (the one owner of a run's state), ``scope`` (one test, task or block) and ``sessions.session``
(one use of a cassette).

- Here: the run and its scopes. ``open_scopes`` and ``scope_settings`` are about scopes, ``scope_joining`` is how
  another process joins one, ``outlived_scopes`` what becomes of it behind the end of that, ``used_cassette`` is what
  a test holds of its cassette, ``scripts_and_faults`` and ``scripts`` are what answers in the place of recordings.
  ``askers`` says for which test a thread works, ``under_test`` whether this process takes part in tests,
  ``miss_outcomes`` whether a miss is raised as an outcome of the test, ``installed_code`` whose code a file is.
  ``environment`` reads and sets environment variables, and notes what programs set; ``known_environment`` tells
  whether they are what they were. ``replayed_time_limits`` lets the limit strike in a replay that had ended the
  recorded answer; it limits nothing itself.
- ``sessions``: which recording answers a request, or whether it is recorded or refused.
- ``storing``: what is written to journals and cassettes, and what waits beside them.
- ``network``: what may reach the network, and which hosts are model providers.
- ``secrets``: which values are secret in this run, and keeping them out of what is printed.
- ``reporting``: what a run notes for its summary and reports.

``use_cassette`` is in ``intercept``, because it also redirects the clients of others.

Imports ``cassettes`` and ``config``. Imported by everything below it in the plan of the house.
"""
