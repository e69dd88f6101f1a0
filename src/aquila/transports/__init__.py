"""Where requests go: live, replayed, recorded, or to the small local model. All through httpx2.

Begin with ``routing``: one ``Route`` answers each request. ``replay`` and ``record`` are what a route through a
cassette does, ``upstreams`` what answers where no cassette does (``live``, ``local_model``, a transport of the user's).
``clients`` builds HTTP clients on top, ``intercepted_requests`` answers for clients of other libraries, ``proxy`` for
``aquila serve``. ``own_requests`` marks what Aquila itself sends, so that interception lets it through. Besides
``intercept.vcr_stubs`` this is the only place that imports httpx2.
"""
