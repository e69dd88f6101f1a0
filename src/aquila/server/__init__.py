"""``aquila serve``: cassettes for any program in any language that can be told a base URL."""
