"""What the commands in the documentation record from: answers that the embedded model gave once.

They are in the cassette ``docs/commands`` of this repository. With ``DOCS_RECORD=1`` in the environment the model is
asked again for what is missing there.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path

from aquila.recording.scope import Scope
from aquila.transports.local_model.local_transport import LocalTransport
from aquila.transports.record import RecordTransport
from aquila.transports.replay import ReplayTransport

CASSETTES = Path(__file__).parents[3] / "cassettes"


def transport() -> RecordTransport | ReplayTransport:
    scope = Scope(kind="block", name="the documentation", options={"cassette_dir": str(CASSETTES), "repeat": "last"})
    if os.environ.get("DOCS_RECORD"):
        atexit.register(scope.close)
        return RecordTransport(scope, scope.sessions.session_for("docs/commands", "missing"), 0.0, LocalTransport())
    return ReplayTransport(scope, scope.sessions.session_for("docs/commands", "replay"))
