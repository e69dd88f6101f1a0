"""Reports of runs, for people and for programs: requests, answers, and differences from recordings.

Begin with ``schema.py``, which declares the data that ``pytest --aquila-report=run.json`` writes. ``collecting`` makes
exchanges from the notes of scopes, and ``exchanges`` makes them from requests and responses. ``page`` renders a report
as one HTML file, ``markdown`` as a few lines. This package knows cassettes, wire forms, prices and redaction, and not
pytest: the plugin collects, the command line reviews, and both use the data of this package.

- An exchange: ``requests`` reads its messages, the answer through ``aquila.cassettes.answers``, and ``large_answers``
  reads a large body. ``drift`` lists the differences from the nearest recording, and ``word_diff`` the words that
  differ. ``costs`` computes the cost, and ``stored_places`` finds where the recording is stored. ``related_requests``
  finds retries among the requests of a test, and the results of tool calls.
- A report: ``bodies`` stores each text once, ``totals`` has the sums, ``redaction`` removes secrets, ``partial_files``
  are the files that each process writes, and ``json_schema`` describes the data. ``report_files`` reads and writes
  whole reports, and ``joining`` makes one of several.

Imported by ``review``, ``server``, ``cli`` and ``pytest_aquila``.
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
