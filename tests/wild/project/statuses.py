"""With which statuses a provider fails."""

STATUSES = (400, 429, 500, 503)
