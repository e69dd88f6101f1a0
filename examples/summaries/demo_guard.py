"""Watches the demo's Python processes: each loads this file, as ``sitecustomize``, before anything else.

It notes in ``DEMO_LOG`` every address that is connected to and every process that is started. With
``DEMO_OFFLINE=1`` it refuses whatever would leave this machine. It hooks the interpreter's audit events, which no
library can avoid.
"""

import ipaddress
import json
import os
import sys
from typing import Any

_ADDRESSED = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Audit events that name a host, and which of their arguments does."""

_STARTED = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system")

_log = os.open(os.environ["DEMO_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_offline = os.environ.get("DEMO_OFFLINE") == "1"


def _is_local(address: Any) -> bool:
    if isinstance(address, tuple):
        address = address[0]
    elif isinstance(address, bytes) or (isinstance(address, str) and address.startswith(("/", "\0"))):
        return True  # a socket in the file system
    if address in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _ADDRESSED:
        address = arguments[_ADDRESSED[event]]
        local = _is_local(address)
        refused = _offline and not local
        _note(event, address=address if isinstance(address, tuple) else [str(address)], local=local, refused=refused)
        if refused:
            raise PermissionError(f"the demo is offline: {event} to {address!r} is refused")
    elif event in _STARTED:
        _note(event, command=str(arguments[1] if len(arguments) > 1 else arguments[0]))


def _note(event: str, **details: Any) -> None:
    os.write(_log, json.dumps({"event": event, "process": os.getpid(), **details}, default=str).encode() + b"\n")


sys.addaudithook(_watch)
