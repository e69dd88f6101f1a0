"""Answers requests: live, from a recording, while recording, or from the small local model. All through httpx2.

Begin with ``routes.routing``: one ``Route`` answers each request.

- ``routes``: which way a request goes, and what each way does.
- ``callers``: how requests come in that are not sent through httpx2, and how their answers go back.
- What answers: ``replay`` and ``record`` for a cassette, ``script_transport``; where none does, ``upstreams``
  (``live``, ``local_model``, a transport of the user's). ``requested_delay`` reads how long an answer asks to wait.
  ``silence`` is what a replay does where the caller had stopped waiting. ``wire`` goes from httpx2 to what a cassette
  holds, and back; ``upload_spool`` holds a large upload.
- For whom: ``clients`` builds HTTP clients on top; ``client_options`` has the types of what they take.
- Beside them: ``own_requests`` marks what Aquila itself sends, so that interception lets it through; ``asking_again``
  sends a request once more to verify it; ``watched_exchanges`` and ``watched_answers`` note requests for a report, and
  by ``watched_streams`` how their answers are read.

Besides ``intercept.vcr_stubs`` and ``intercept.aiohttp_answers`` this is the only place that imports httpx2.

Imported by everything below it in the plan of the house.
"""

from __future__ import annotations

HTTPX_FAMILY = ("httpx2", "httpx")
"""Import names of the libraries whose transports are patched. They share their shape; the second is the ancestor of the
first. Here, so that reading it loads neither of them."""

CORE_LIBRARIES = {"httpx2": "httpcore2", "httpx": "httpcore"}
"""The library below each, which has the pools of connections."""
