"""The protocols that providers speak over WebSockets.

``conversation_form.py`` is what they have in common, and ``protocol_table.py`` lists them. What a client asks becomes a
request as it would be sent without a WebSocket, so that a script answers both alike; the answer is told in messages.

``openai_responses``, ``openai_realtime`` (with the events of ``realtime_events``) and ``gemini_live`` are the
protocols.

Begin with ``conversation_form``. Imported by ``scripting``, ``faults`` and ``intercept``.
"""
