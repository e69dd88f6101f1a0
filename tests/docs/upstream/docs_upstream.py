"""The upstream of the commands in the documentation: it gives answers that the embedded model gave once.

They are in the cassette ``docs/commands`` of this repository. With ``DOCS_RECORD=1`` in the environment the model is
asked again for what is missing there.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import httpx2

from aquila.recording.scope import Scope
from aquila.transports.local_model.local_transport import LocalTransport
from aquila.transports.routes.routing import open_route
from aquila.transports.upstreams import Upstream

CASSETTES = Path(__file__).parents[3] / "cassettes"


def transport() -> httpx2.BaseTransport:
    options = {"cassette_dir": str(CASSETTES), "repeat": "last", "record": "missing"}
    scope = Scope(kind="block", name="the documentation", options=options)
    name = "record" if os.environ.get("DOCS_RECORD") else "replay"
    if name == "record":
        atexit.register(scope.close)
    route = open_route(name, scope, scope.settings, "docs/commands", lambda _: Upstream("local", LocalTransport))
    assert route is not None
    return httpx2.MockTransport(route.answer)
