"""Whether a test replaces the waits of its program, which then say nothing about how it would behave.

A test of back-off seldom waits: it puts a function that does nothing in the place of ``time.sleep``, or sets the
seconds between two attempts to 0.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Any

import pytest

_ABOUT_WAITS = re.compile(r"sleep|wait|delay|back_?off|retr|pause|jitter|interval|attempt", re.IGNORECASE)


class FakedWaits:
    """Sees what is patched in this process, from ``watch`` on, for good."""

    def __init__(self) -> None:
        self.found = False
        """Whether something was patched whose name is one of waits."""

    def watch(self) -> None:
        """Begin."""
        for name in ("setattr", "setitem", "setenv"):
            self._watch_method(pytest.MonkeyPatch, name)
        mock: Any = sys.modules.get("unittest.mock")
        if mock is not None:
            self._watch_method(mock._patch, "__enter__", "attribute")
            self._watch_method(mock._patch_dict, "__enter__", "values")

    def _watch_method(self, kind: type, name: str, field: str | None = None) -> None:
        original = getattr(kind, name)

        @functools.wraps(original)
        def watched(this: Any, *arguments: Any, **named: Any) -> Any:
            said = arguments[:2] if field is None else (getattr(this, field, ""),)
            texts = [text for each in said for text in (each if isinstance(each, dict) else (each,))]
            if any(isinstance(text, str) and _ABOUT_WAITS.search(text) for text in texts):
                self.found = True
            return original(this, *arguments, **named)

        setattr(kind, name, watched)
