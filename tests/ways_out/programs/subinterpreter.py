"""An interpreter within the process."""

import contextlib
import importlib


def go(host: str, port: int) -> str:
    interpreters = None
    for name in ("_interpreters", "_xxsubinterpreters"):
        with contextlib.suppress(ImportError):
            interpreters = interpreters or importlib.import_module(name)
    assert interpreters is not None
    run = getattr(interpreters, "exec", None) or interpreters.run_string
    made = interpreters.create()
    try:
        return str(run(made, f"import socket; socket.create_connection(({host!r}, {port}), timeout=10).close()"))
    finally:
        interpreters.destroy(made)
