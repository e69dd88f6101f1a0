"""vcrpy's interface on Aquila's recorder: to migrate a module, change ``import vcr`` to ``from aquila import vcr``.

``use_cassette``, ``VCR`` and their cassettes have the options, attributes and methods of vcrpy's. Requests are
recorded, replayed, guarded and redacted as everywhere in Aquila. Options of vcrpy that have no effect here are named
once (``ignored_options``), at the end of a test run, and cause no failure. ``docs/migrating.md`` lists the differences.
Needs the extra ``vcr``.

``recorder`` is ``VCR``: begin there. ``option_translation`` says what Aquila does for its options, ``matching`` for its
matchers, ``saved_interactions`` for its hooks; ``forms`` converts requests and answers. ``cassette`` is what a program
gets, ``blocks`` are ``use_cassette``, ``other_files`` the files that only vcrpy can read. The codec that reads
cassettes of vcrpy is ``aquila.cassettes.codecs.vcrpy``.

Imported by ``pytest_aquila``.
"""

from __future__ import annotations

from aquila.optional import import_vcrpy

import_vcrpy(purpose="aquila.vcr")

from vcr.record_mode import RecordMode as mode  # noqa: E402 - the sentence above names what to install
from vcr.request import Request  # noqa: E402

from aquila.vcr.blocks import CassetteBlock  # noqa: E402
from aquila.vcr.cassette import Cassette  # noqa: E402
from aquila.vcr.recorder import VCR  # noqa: E402

__all__ = ["VCR", "Cassette", "CassetteBlock", "Request", "default_vcr", "mode", "use_cassette"]

default_vcr = VCR()
"""The recorder of ``use_cassette``. Its attributes are the options of each cassette that does not give its own."""

use_cassette = default_vcr.use_cassette
"""vcrpy's call on ``default_vcr``: record or replay in a block, or for each call of a function."""
