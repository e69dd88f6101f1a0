"""OpenAI's wire forms, which most other servers have, too. ``openai_common`` has the code that they share.

Begin with ``chat_completions``. ``responses`` is the Responses API, whose streams ``response_events`` writes;
``completions``, ``embeddings`` and ``models`` are the others.

Imported by ``table`` and ``conversations``.
"""
