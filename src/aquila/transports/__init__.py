"""Answers requests: live, from a recording, while recording, or from the small local model. All through httpx2.

Begin with ``routes.routing``: one ``Route`` answers each request.

- ``routes``: choosing the route of a request, and the routes.
- ``callers``: requests of clients that Aquila has not built, and how their answers are returned.
- The transports: ``replay`` and ``record`` use a cassette, ``script_transport`` a script. ``upstreams`` finds all
  others (``live``, ``local_model``, a transport of the user's), and ``transport_names`` refuses misspelt ones early.
  ``requested_delay`` reads how long an answer asks a client to wait. ``silence`` replays the end of an answer whose
  caller had stopped waiting. ``wire`` converts between httpx2 and cassettes; ``upload_spool`` holds a large upload.
  ``own_threads`` runs what reads or writes files for the requests of an event loop.
- ``clients`` builds HTTP clients on top; ``client_options`` has the types of their options.
- ``own_requests`` marks requests that Aquila itself sends, so that they are not intercepted. ``asking_again`` sends a
  request again to verify its recording. ``watched_exchanges`` notes requests for a report, ``watched_answers`` for a
  run that tries faults; both use ``watched_streams``, which notes how answers are read.

Besides two modules of ``intercept.http_clients`` this is the only place that imports httpx2.

Imported by everything below it in the plan of the house.
"""

from __future__ import annotations

CORE_LIBRARIES = {"httpx2": "httpcore2", "httpx": "httpcore"}
"""The libraries whose transports are patched, each with the library below it, which has the pools of connections.

They share their shape; the second is the ancestor of the first. Here, so that reading it loads neither of them."""
