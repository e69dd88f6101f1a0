"""What a run does with cassettes: its scopes, the sessions in them, and what it stores and reports.

Begin with ``scope`` (one test, task or block) and ``session`` (one use of a cassette, with its play counts).

- The state of a run: ``runtime`` owns it. ``open_scopes``, ``scope_sessions`` and ``scope_settings`` are its scopes,
  ``used_cassette`` and ``refusals`` what a test sees of them, ``stand_ins`` and ``scripts`` what answers in the place
  of recordings. ``askers`` says for which test a thread works, ``under_test`` whether this process takes part in tests.
- Which recording answers: ``session_factory`` opens sessions, which decide what ``decisions`` holds, by the keys of
  ``recording_keys``, ``known_keys`` and ``other_origins``, counted in ``request_counts``; ``client_calls`` tells
  attempts of a client from calls of the program, ``filters`` has what a program changes before anything is compared.
- Conversations: ``conversations`` says what of one is recorded anew, ``put_aside`` leaves its recordings out meanwhile.
  ``frame_recorder`` records one over a WebSocket, ``played_conversations`` counts how much of one was said.
- What is stored: ``recorder`` writes journals, ``journal_merging`` brings them into cassettes, and ``recovery`` those
  of a run that was killed. ``large_answer`` goes to disk while it arrives. ``pending_recordings`` and ``pending_files``
  wait beside a cassette, ``record_budget`` and ``recording_age`` say what is recorded at all.
- Secrets: ``redactors`` has the redactors of the run, ``set_variables`` and ``late_secrets`` are about keys that are
  set while it goes on, ``outgoing`` keeps secrets out of what is printed.
- The guard: ``guard`` says what is refused, ``model_hosts`` which hosts are model providers, ``no_network`` how a
  request fails that no test asked for, ``places`` whether a miss is raised as an outcome of the test.
- Reports: ``reports``, ``drift_watch``, ``drift_groups``, ``miss_log``, ``play_log``, ``exchange_watch``, and for
  misses of renamed tests ``renamed_tests`` and ``gone_tests``. ``child_misses`` is what child processes tell their
  test.

``use_cassette`` is in ``intercept``, because it also redirects the clients of others. Imports ``cassettes`` and
``config``; imported by ``transports`` and everything below.
"""
