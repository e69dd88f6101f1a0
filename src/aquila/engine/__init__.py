"""Makes the calls of ``ask`` and ``stream``. Only this package imports openai.

It imports nothing of ``aquila.cassettes``: what answers a request is chosen in ``transports``.

``calls`` prepares a call and translates its errors. ``loop`` has the requests and tools of a call as steps without I/O.
``endpoints`` builds requests and reads answers of the provider's APIs. ``streams`` drives the loop for synchronous and
asynchronous callers. ``openai_sdk`` has the names of the SDK that the engine uses, loaded by the first call. Begin with
``calls.call_plan``.

Imported by ``api``, ``research``, ``huey`` and ``pytest_aquila``.
"""
