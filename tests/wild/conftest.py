"""These tests are collected only by `make test-wild`, which makes the environments and names this one in WILD_GROUP."""

import os

_PROJECTS = ("project/*", "clients/*", "plugins/*", "scripts/*", "faults/*", "sockets/*", "mounted/*", "compiled/*")

if "WILD_GROUP" not in os.environ:
    collect_ignore_glob = ["test_*.py", *_PROJECTS]
elif os.environ["WILD_GROUP"] != "wild":
    # The other groups lack clients in Rust, and web frameworks.
    collect_ignore_glob = ["test_mounted.py", "test_compiled_clients.py", *_PROJECTS]
else:
    collect_ignore_glob = list(_PROJECTS)
