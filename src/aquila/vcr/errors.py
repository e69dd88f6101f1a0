"""vcrpy's names of the errors of a request that no recording answers."""

from __future__ import annotations

from vcr.errors import UnhandledHTTPRequestError

from aquila.errors import CassetteMiss

__all__ = ["CannotOverwriteExistingCassetteException", "UnhandledHTTPRequestError"]

CannotOverwriteExistingCassetteException = CassetteMiss
"""What a request raises that is not recorded."""
