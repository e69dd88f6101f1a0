"""A call, from what the caller wrote to what a driver needs. Begin with ``call``.

``options`` are its options, ``operations`` calls that are no conversation, ``sdk_client`` the way into the SDK,
``error_translation`` the way back for errors, ``retry`` and ``telemetry`` what happens around it.
"""
