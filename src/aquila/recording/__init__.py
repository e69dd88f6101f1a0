"""What a run does with cassettes: its scopes, the sessions in them, and what it stores and reports.

Begin with ``runtime`` (the one owner of a run's state), ``scope`` (one test, task or block) and ``sessions.session``
(one use of a cassette).

- Here: the run and its scopes. ``open_scopes`` keeps the open scopes, and ``scope_settings`` names the options that a
  scope cannot have. ``scope_joining`` lets another process join a scope, and ``outlived_scopes`` refuses the requests
  of a child process after its scope has ended. ``used_cassette`` is the cassette as a test sees it.
  ``scripts`` opens scripts in files, and lets other processes ask scripts. ``askers`` finds the test for which a thread
  works, ``under_test`` says whether this process takes part in tests, ``miss_outcomes`` chooses whether a miss is
  raised as an outcome of the test, and ``installed_code`` tells whose code a file is. ``environment`` reads and sets
  environment variables and notes those that programs set; ``known_environment`` tells whether they have changed.
  ``replayed_time_limits`` lets a time limit end a replay, if it ended the recorded answer; it sets no limit itself.
- ``scope_parts``: the scripts, faults and misses of a scope.
- ``sessions``: decides which recording answers a request, or whether the request is recorded or refused.
- ``storing``: writes journals and cassettes, and manages the pending recordings beside them.
- ``network``: decides what may reach the network, and which hosts are model providers.
- ``secrets``: knows which values are secret in this run, and keeps them out of all output.
- ``reporting``: notes what a run needs for its summary and reports.

``use_cassette`` is in ``intercept``, because it also intercepts the clients of other libraries.

Imports ``cassettes`` and ``config``. Imported by everything below it in the plan of the house.
"""
