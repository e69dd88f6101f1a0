"""Nothing here is collected but by `make test-wild`, which makes the environments and says which of them this is."""

import os

_PROJECTS = ("project/*", "clients/*", "plugins/*", "scripts/*", "faults/*", "sockets/*", "mounted/*", "compiled/*")

if "WILD_GROUP" not in os.environ:
    collect_ignore_glob = ["test_*.py", *_PROJECTS]
elif os.environ["WILD_GROUP"] != "wild":  # clients over sockets and in Rust, and web frameworks, are not there
    collect_ignore_glob = ["test_sockets.py", "test_mounted.py", "test_compiled_clients.py", *_PROJECTS]
else:
    collect_ignore_glob = list(_PROJECTS)
