"""The APIs of OpenAI-compatible providers: one module each, after the form in ``protocol``.

``chat`` is Chat Completions, ``responses`` the Responses API; ``structured_output``, ``usage`` and ``text_buffer`` are
what they share.
"""
