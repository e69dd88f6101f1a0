"""Google's wire forms for Gemini. Begin with ``gemini_content``. ``gemini_requests`` reads requests, for all of them.

The others are ``gemini_embeddings``, ``gemini_models`` and ``gemini_errors``.

Imported by ``table`` and ``conversations``.
"""
