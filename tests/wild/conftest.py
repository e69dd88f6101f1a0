"""Nothing here is collected but by `make test-wild`, which makes the environments and says which of them this is."""

import os

if "WILD_GROUP" not in os.environ:
    collect_ignore_glob = ["test_*.py", "project/*", "clients/*", "plugins/*", "scripts/*", "faults/*", "faults/*"]
else:
    collect_ignore_glob = ["project/*", "clients/*", "plugins/*", "scripts/*", "faults/*", "faults/*"]
