"""Who opens the scope of what runs now. A module of its own, so that a test run can say so without loading more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

opener: Callable[[], Any] | None = None
"""Opens (or returns) the scope of the running test. Set by the pytest plugin while a test runs."""
