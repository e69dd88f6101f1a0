"""The engine: one sans-IO loop with a synchronous and an asynchronous driver, on top of the openai SDK."""
