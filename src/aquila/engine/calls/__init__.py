"""Plans a call and prepares it for a driver. Begin with ``call_plan``.

``options`` declares the options of a call and checks them. ``stored_answers`` and ``transcription`` plan calls that are
not conversations. ``prepared_call`` makes the SDK client of a call and sends its requests; ``error_translation``
translates the errors of the SDK. ``retry`` decides after which errors, and how soon, a request is sent again.
``timeouts`` has the time limits of a call. ``telemetry`` reports the events of a call to plugins and to the log.

``request_gate`` delays requests that count against limits which many callers share, such as the limits of a queue.

Imported by ``endpoints``, ``loop``, ``streams`` and everything below ``engine``.
"""
