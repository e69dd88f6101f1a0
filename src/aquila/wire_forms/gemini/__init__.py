"""Google's wire forms for Gemini. Begin with ``gemini_content``; ``gemini_requests`` reads what the others share.

``gemini_embeddings``, ``gemini_models`` and ``gemini_errors`` are the others.

Imported by ``table`` and ``conversations``.
"""
