"""Reports of runs, for people and for programs: what was asked, what answered, and what differs.

``schema.py`` declares the data, which ``pytest --aquila-report=run.json`` writes; begin there. ``collecting`` takes it
from what scopes have noted and ``exchanges`` from recordings; ``page`` renders it as one HTML file, ``markdown`` as a
few lines. It knows cassettes, wire forms, prices and redaction, and nothing of pytest: the plugin collects, the command
line reviews, and both show what is made here.

- Of an exchange: ``requests``, ``answers`` and (read in part) ``large_answers``; ``media`` are the images, sounds and
  files in them. ``drift`` is what differs from the nearest recording, in the words of ``word_diff``; ``costs`` what it
  cost, ``stored_places`` and ``recording_lines`` where it stands in its cassette. ``related_requests`` says what the
  requests of a test have to do with each other.
- Of a report: ``bodies`` has each text once, ``totals`` are the sums, ``redaction`` takes out secrets,
  ``partial_files`` collect it in each process. ``json_schema`` describes it.

Imported by ``review``, ``server``, ``verifying``, ``cli`` and ``pytest_aquila``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

if TYPE_CHECKING:
    from aquila.run_report.json_schema import make_json_schema as make_json_schema
    from aquila.run_report.schema import Exchange as Exchange
    from aquila.run_report.schema import RunReport as RunReport
    from aquila.run_report.schema import Test as Test

_NAMES = {
    "Exchange": "aquila.run_report.schema",
    "RunReport": "aquila.run_report.schema",
    "Test": "aquila.run_report.schema",
    "make_json_schema": "aquila.run_report.json_schema",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
