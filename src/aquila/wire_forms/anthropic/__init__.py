"""Anthropic's wire forms, at Anthropic and (messages) at Bedrock. Begin with ``anthropic_messages``.

``anthropic_models`` is the list of models, ``anthropic_errors`` are errors, and ``anthropic_at_bedrock`` wraps messages
as Amazon does.

Imported by ``table``.
"""
