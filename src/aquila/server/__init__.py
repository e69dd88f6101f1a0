"""``aquila serve``: a server that answers any program from cassettes. Begin with ``application``."""
