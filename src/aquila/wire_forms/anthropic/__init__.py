"""Anthropic's wire forms, at Anthropic and (messages) at Bedrock. Begin with ``anthropic_messages``.

``anthropic_models`` has the list of models, ``anthropic_errors`` the errors, and ``anthropic_at_bedrock`` the messages
in the form of Amazon.

Imported by ``table``.
"""
