"""Google's wire forms for Gemini. Begin with ``gemini_content``; ``gemini_requests`` reads what the others share."""
