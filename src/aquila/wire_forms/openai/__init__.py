"""OpenAI's wire forms, which most servers of others speak too. ``openai_common`` is what they share."""
