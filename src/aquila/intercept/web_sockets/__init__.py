"""Conversations over WebSockets, recorded and replayed where Python's client libraries connect.

Begin with ``answering``: it says what becomes of a handshake. A conversation that is recorded goes over the library's
own connection, and its messages are noted as they pass. In a replay the library gets a real connection as well, one end
of a pair of sockets; ``peer`` speaks for the provider at the other one, and ``replayed`` says what it may say. So a
program meets its own library's objects, time limits and exceptions in both. How conversations are stored and compared
is in ``aquila.cassettes.web_socket_frames``.

``clients`` lists the libraries. Each has a module in ``libraries`` that knows where it connects, sends and receives.

- Handshakes: ``opening_handshakes`` is what they are made of, ``which_recording`` says which recording answers where
  several begin alike, ``scripted_answering`` which script. ``proxied`` answers those that came in over HTTP, for
  ``aquila serve``; ``own_connections`` makes those of ``ask``, and ``dropping`` gives connections
  up.
- Conversations: ``conversation_start`` opens one that ``provider_side`` answers, which is a recording
  (``recorded_side``) or a script (``scripted_side``). ``assembling`` makes messages of frames, ``writing`` has what is
  recorded written in time. ``turns`` says whose turn it is to work on one, ``open_conversations`` ends those of a scope
  with it, and ``watched_side`` notes what is said for the report of a run. ``watched_readings`` notes how answers are
  read, for verdicts under faults, and ``silent_waits`` waits for what a fault keeps from coming.

Imported by ``activation``, ``httpx_clients``, ``engine`` and ``server``.
"""
