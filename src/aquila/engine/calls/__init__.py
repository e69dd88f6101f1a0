"""A call, from what the caller wrote to what a driver needs. Begin with ``call_plan``.

``options`` declares the options and checks them; ``stored_answers`` and ``transcription`` plan calls that are no
conversation; ``sdk_client`` is the way into the SDK, ``error_translation`` the way back for errors; ``retry`` says
after which errors a request is sent again and how long it waits, ``timeouts`` which time limits it has, and
``telemetry`` tells OpenTelemetry.

``request_gate`` admits requests where those of many callers count together, as a queue's limits do.

Imported by ``endpoints``, ``loop``, ``streams`` and everything below ``engine``.
"""
