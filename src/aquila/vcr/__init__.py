"""vcrpy's call on Aquila's recorder: change ``import vcr`` to ``from aquila import vcr``, and a module has moved.

``use_cassette``, ``VCR`` and the cassettes that they give take and have what those of vcrpy do. Requests are recorded,
replayed, guarded and redacted as everywhere in Aquila. What of vcrpy means nothing here is named once, at the end of a
test run, and fails nothing. ``docs/migrating.md`` says what differs. Needs the extra ``vcr``.
"""

from __future__ import annotations

from aquila.optional import import_optional

import_optional("vcr", "vcr", purpose="aquila.vcr")

from vcr.record_mode import RecordMode as mode  # noqa: E402 - the sentence above names what to install
from vcr.request import Request  # noqa: E402

from aquila.vcr.blocks import CassetteBlock  # noqa: E402
from aquila.vcr.cassette import Cassette  # noqa: E402
from aquila.vcr.recorder import VCR  # noqa: E402

__all__ = ["VCR", "Cassette", "CassetteBlock", "Request", "default_vcr", "mode", "use_cassette"]

default_vcr = VCR()
"""The recorder of ``use_cassette``: its attributes are the options of every cassette that names none."""

use_cassette = default_vcr.use_cassette
"""vcrpy's call on ``default_vcr``: record or replay in a block, or for each call of a function."""
