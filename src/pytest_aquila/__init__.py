"""The pytest plugin of Aquila: record the answers of language models once, replay them for ever."""
