"""Records and replays conversations over WebSockets, where Python's client libraries connect.

Begin with ``answering``: it decides about each handshake. A recorded conversation goes over the library's own
connection, and its messages are noted as they pass. In a replay the library gets a real connection too, one end of a
pair of sockets. ``peer`` speaks for the provider at the other end, and ``replayed`` decides what the peer says. So a
program meets its own library's objects, time limits and exceptions in both. How conversations are stored and compared
is in ``aquila.cassettes.web_socket_frames``.

``clients`` lists the libraries. Each has a module in ``libraries`` that knows where it connects, sends and receives.

- Handshakes: ``opening_handshakes`` has their parts. ``which_recording`` chooses the recording if several begin alike,
  and ``scripted_answering`` the script. ``proxied`` answers handshakes that came in over HTTP, for ``aquila serve``.
  ``own_connections`` makes the connections of ``ask``, and ``dropping`` ends a connection at once.
- Conversations: ``conversation_start`` opens a conversation. Its ``provider_side`` is a recording (``recorded_side``)
  or a script (``scripted_side``). ``assembling`` joins frames to messages, and ``writing`` writes recordings in time.
  ``turns`` lets one thread at a time work on a conversation. ``open_conversations`` ends conversations with their
  scope, and ``watched_side`` notes messages for the report of a run. ``watched_readings`` notes how answers are read,
  for verdicts under faults, and ``silent_waits`` waits for messages that a fault withholds.

Imported by ``activation``, ``http_clients``, ``engine`` and ``server``.
"""
