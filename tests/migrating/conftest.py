"""The sample projects are not collected here: tests copy them and run pytest in the copy."""

import pytest

collect_ignore = ["sample_project", "cassetter_project"]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal so wide that no line is wrapped. ``tests/plugin/test_summary.py`` tests the wrapping."""
    monkeypatch.setenv("COLUMNS", "1000")
