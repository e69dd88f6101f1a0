"""The protocols that providers speak over WebSockets.

``conversation_form.py`` has the code that they share, and ``protocol_table.py`` lists them. The messages of a client
become a request as it would be sent without a WebSocket, so that a script answers both alike. The answer is written as
messages.

``openai_responses``, ``openai_realtime`` (with the events of ``realtime_events``) and ``gemini_live`` are the
protocols.

Begin with ``conversation_form``. Imported by ``scripting``, ``faults`` and ``intercept``.
"""
