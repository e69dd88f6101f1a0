"""Recordings: their records, the comparison of requests, the redaction of secrets, storage and file formats.

No module here knows an HTTP client or the settings of a run; callers pass both in.

- ``model``: the records that all other modules use. Begin here.
- ``matching``: finds the recording that answers a request, and writes the message of a miss.
- ``redaction``: finds secrets and removes them before anything is written.
- ``storage``: names, files, journals, and how recordings are merged into a file.
- ``codecs``: the file formats.
- ``answers``: the text and the tokens of answers, for people who read them.
- ``web_socket_frames``: stores, compares and replays conversations over WebSockets.
- ``multipart`` parses multipart bodies, ``content_codings`` undoes compression, and ``amazon_frames`` reads the streams
  of AWS. ``body_file`` reads a body that lies in a file beside its cassette. ``object_memo`` remembers values that were
  computed from a recording.

Imported by everything below it in the plan of the house. The names of this package are public: hooks and tests of users
use them. Each is imported when it is first used, so that using one part does not load the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

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
    "Cassette": "aquila.cassettes.model",
    "Codec": "aquila.cassettes.codecs",
    "Interaction": "aquila.cassettes.model",
    "RecordedChunk": "aquila.cassettes.model",
    "RecordedRequest": "aquila.cassettes.model",
    "RecordedResponse": "aquila.cassettes.model",
    "Redactor": "aquila.cassettes.redaction.redactor",
    "SecretFinding": "aquila.cassettes.redaction.redactor",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
