"""How ``ask`` and ``stream`` work. The only place that calls openai; it knows nothing of cassettes.

``calls`` prepares a call and translates its errors, ``loop`` is the conversation with tools as pure steps,
``endpoints`` are the provider's APIs, ``streams`` drive the loop for synchronous and asynchronous callers. Begin with
``calls.call_plan``. ``openai_sdk`` is what is used of the SDK, loaded by the first call.

Imported by ``api``, ``research``, ``huey`` and ``pytest_aquila``.
"""
