"""vcrpy's interface on Aquila's recorder: to migrate a module, change ``import vcr`` to ``from aquila import vcr``.

``use_cassette``, ``VCR`` and their cassettes have the options, attributes and methods of vcrpy. Requests are recorded,
replayed, guarded and redacted as everywhere in Aquila. Options of vcrpy that have no effect here cause no failure; each
is named once, at the end of a test run. ``docs/migrating.md`` lists the differences. Needs the extra ``vcr``.

- ``recorder`` has the class ``VCR``. Begin here.
- ``option_translation`` translates its options and hooks, and ``matching`` its matchers. ``ignored_options`` names the
  options without an effect.
- ``blocks`` has the result of ``use_cassette``, and ``cassette`` the cassette that a program gets.
- ``errors`` has vcrpy's names of errors.
- ``forms`` converts requests and answers to vcrpy's objects, and back.
- ``other_files`` loads files that only vcrpy can read. ``aquila.cassettes.codecs.vcrpy`` reads vcrpy's own YAML.

Imported by ``pytest_aquila``.
"""

from __future__ import annotations

from aquila.optional import import_vcrpy

import_vcrpy(purpose="aquila.vcr")

from vcr.record_mode import RecordMode as mode  # noqa: E402 - the call above raises with what to install
from vcr.request import Request  # noqa: E402

from aquila.vcr import errors  # noqa: E402
from aquila.vcr.blocks import CassetteBlock  # noqa: E402
from aquila.vcr.cassette import Cassette  # noqa: E402
from aquila.vcr.recorder import VCR  # noqa: E402

__all__ = ["VCR", "Cassette", "CassetteBlock", "Request", "default_vcr", "errors", "mode", "use_cassette"]

default_vcr = VCR()
"""The recorder of ``use_cassette``. Its attributes are the options of each cassette that does not give its own."""

use_cassette = default_vcr.use_cassette
"""vcrpy's call on ``default_vcr``: record or replay in a block, or for each call of a function."""
