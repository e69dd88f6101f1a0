from __future__ import annotations

from pathlib import Path

import pytest
from summaries import store


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of its own for each test."""
    monkeypatch.setattr(store, "DATA", tmp_path)
    return tmp_path
