"""Where requests go: live, replayed, recorded, or to the small local model; all as transports of httpx2.

Begin with ``routing``, which decides. ``record`` and ``replay`` are the two that use cassettes, ``clients`` builds
HTTP clients on top, ``intercepted_requests`` answers for clients of other libraries. Besides ``intercept.vcr_stubs``
the only place that imports httpx2.
"""
