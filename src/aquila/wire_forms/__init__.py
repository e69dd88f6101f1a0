"""The wire forms of providers: what a request for a model says, and how an answer to it is written.

``form.py`` is what all of them have in common, and ``table.py`` lists them: begin there. ``sent.py`` and ``answer.py``
are what is read and written, in one form for all providers. A new wire form is a module and a row in the table;
providers with several have a folder: ``openai``, ``anthropic``, ``gemini``; ``ollama`` and ``bedrock`` have a module.
``conversations`` are the protocols over WebSockets. This is how Aquila reads requests and writes answers in a
provider's place (scripts, faults, reports); how ``ask`` asks is in ``aquila.engine.endpoints``. Knows cassettes, and
nothing of HTTP clients, scripts or settings.

Imported by everything below it in the plan of the house.
"""
