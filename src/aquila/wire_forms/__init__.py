"""The wire forms of providers: reading requests to models, and writing answers to them.

``form.py`` has the code that all wire forms share, and ``table.py`` lists them: begin there. ``sent.py`` is a request
that was read, and ``answer.py`` an answer to be written, both in one form for all providers. To add a wire form, add a
module and a row in the table. Providers with several wire forms have a folder (``openai``, ``anthropic``, ``gemini``),
others a module (``ollama``, ``bedrock``). ``conversations`` are the protocols over WebSockets. This package is for
scripts, faults and reports, which read and write as a provider does; the requests of ``ask`` are built in
``aquila.engine.endpoints``. It knows cassettes, but neither HTTP clients nor scripts nor settings.

Imported by everything below it in the plan of the house.
"""
