"""The APIs of OpenAI-compatible providers: one module for each, with the interface that ``protocol`` declares.

``chat`` builds requests of Chat Completions, and ``chat_parser`` reads the answers. ``responses`` does both for the
Responses API. They share ``structured_output``, and ``answer_form``, which names the malformed field of an answer.

This package is for the requests of Aquila itself. ``aquila.wire_forms`` reads requests and writes answers as a provider
does.

Begin with ``protocol``. Imported by ``calls`` and ``loop``.
"""
