"""What a recording is: its model, what makes two requests the same, what is secret, how it is stored and written.

Nothing here knows an HTTP client or the settings of a run; both are handed in. The rooms:

- ``model``: the records that everything else is about. Begin here.
- ``matching``: which recording answers a request, and what a miss says.
- ``redaction``: what must not be written, and how it is taken out.
- ``storage``: names, files, journals, and how recordings are merged into a file.
- ``codecs``: the file formats.
- ``web_socket_frames``: conversations over WebSockets, and which message of one answers which.
- Beside them: ``multipart`` takes multipart bodies apart, ``content_codings`` undoes compression, ``amazon_frames``
  reads what AWS streams, ``body_file`` bodies kept in a file beside the cassette. ``object_memo`` remembers what
  was computed of a recording.

Imported by everything below it in the plan of the house. Names are imported when they are first used, so that one part
loads no other. They are public: what hooks and tests of users work with.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aquila.cassettes.codecs import Codec as Codec
    from aquila.cassettes.model import Cassette as Cassette
    from aquila.cassettes.model import Interaction as Interaction
    from aquila.cassettes.model import RecordedChunk as RecordedChunk
    from aquila.cassettes.model import RecordedRequest as RecordedRequest
    from aquila.cassettes.model import RecordedResponse as RecordedResponse
    from aquila.cassettes.redaction.redactor import Redactor as Redactor
    from aquila.cassettes.redaction.redactor import SecretFinding as SecretFinding

_NAMES = {
    "Cassette": "model",
    "Codec": "codecs",
    "Interaction": "model",
    "RecordedChunk": "model",
    "RecordedRequest": "model",
    "RecordedResponse": "model",
    "Redactor": "redaction.redactor",
    "SecretFinding": "redaction.redactor",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package

    def __getattr__(name: str) -> Any:
        module = _NAMES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
