"""The APIs of OpenAI-compatible providers: one module for each, with the interface that ``protocol`` declares.

``chat`` is Chat Completions, with ``chat_parser`` for what comes back; ``responses`` is the Responses API;
``structured_output`` is what they share, and ``answer_form``, which names the field of an answer that is malformed.

This is how Aquila asks. How it reads requests and writes answers in a provider's place is in ``aquila.wire_forms``.

Begin with ``protocol``. Imported by ``calls`` and ``loop``.
"""
