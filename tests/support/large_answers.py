"""Large answers that are redacted part by part, as they are while they arrive."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from aquila.cassettes.redaction import window_redaction
from aquila.cassettes.redaction.window_redaction import CleanPart, LargeBodyRedactor


def redact_in_parts(redactor: LargeBodyRedactor, chunks: Iterable[bytes]) -> list[CleanPart]:
    """Give the chunks of an answer to its redactor, one by one, and return the parts that it hands on."""
    parts = []
    for chunk in chunks:
        redactor.add_chunk(chunk)
        while redactor.is_full:
            parts.append(redactor.take_part())
    return [*parts, redactor.take_rest(cut_off=False)]


def use_small_windows(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Search streams in smaller windows, which end in the same way, in less time. Return window and overlap."""
    for name in ("STREAM_WINDOW", "STREAM_OVERLAP"):
        monkeypatch.setattr(window_redaction, name, getattr(window_redaction, name) // 8)
    return window_redaction.STREAM_WINDOW, window_redaction.STREAM_OVERLAP
