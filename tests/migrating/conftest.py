"""The sample projects are suites of their own: they are copied and run, and not collected here."""

import pytest

collect_ignore = ["sample_project", "cassetter_project"]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is tried apart from where lines end, which ``tests/plugin/test_summary.py`` does."""
    monkeypatch.setenv("COLUMNS", "1000")
