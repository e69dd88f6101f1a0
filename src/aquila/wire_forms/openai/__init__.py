"""OpenAI's wire forms, which most other servers have, too. ``openai_common`` has what they share."""
