"""Whether a test replaces the waits of its program, so that its back-off cannot be judged.

A test of back-off seldom waits. It replaces ``time.sleep`` by a function that does nothing, or sets the
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
    """Notices patches in this process from ``watch`` on. It is never undone: the process is a forked child."""

    def __init__(self) -> None:
        self.found = False
        """Whether something was patched whose name suggests a wait."""

    def watch(self) -> None:
        """Begin to notice patches by ``pytest.MonkeyPatch`` and ``unittest.mock``."""
        for name in ("setattr", "setitem", "setenv"):
            self._watch_method(pytest.MonkeyPatch, name)
        mock: Any = sys.modules.get("unittest.mock")
        if mock is not None:
            # Private classes: `mock.patch` returns their objects, and names no public class.
            self._watch_method(mock._patch, "__enter__", "attribute")
            self._watch_method(mock._patch_dict, "__enter__", "values")

    def _watch_method(self, kind: type, name: str, field: str | None = None) -> None:
        original = getattr(kind, name)

        @functools.wraps(original)
        def watched(this: Any, *arguments: Any, **named: Any) -> Any:
            named_by = arguments[:2] if field is None else (getattr(this, field, ""),)
            texts = [text for each in named_by for text in (each if isinstance(each, dict) else (each,))]
            if any(isinstance(text, str) and _ABOUT_WAITS.search(text) for text in texts):
                self.found = True
            return original(this, *arguments, **named)

        setattr(kind, name, watched)
