"""Where requests go: live, replayed, recorded, or to the small local model. All through httpx2.

Begin with ``routing``: one ``Route`` answers each request. ``replay`` and ``record`` are what a route through a
cassette does, ``upstreams`` what answers where no cassette does (``live``, ``local_model``, a transport of the user's).
``clients`` builds HTTP clients on top, ``intercepted_requests`` answers for clients of other libraries, ``proxy`` for
``aquila serve``. ``own_requests`` marks what Aquila itself sends, so that interception lets it through. ``silence``
is what a replay does where the caller had stopped waiting. Besides ``intercept.vcr_stubs`` and
``intercept.aiohttp_answers`` this is the only place that imports httpx2.
"""

from __future__ import annotations

HTTPX_FAMILY = ("httpx2", "httpx")
"""Import names of the libraries whose transports are patched. They share their shape; the second is the ancestor of the
first. Here, so that reading it loads neither of them."""

CORE_LIBRARIES = {"httpx2": "httpcore2", "httpx": "httpcore"}
"""The library below each, which has the pools of connections."""
