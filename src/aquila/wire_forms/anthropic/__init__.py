"""Anthropic's wire forms, at Anthropic and (messages) at Bedrock. Begin with ``anthropic_messages``."""
