"""The hook specification of pytest-recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from aquila.vcr import VCR


def pytest_recording_configure(config: pytest.Config, vcr: VCR) -> None:
    """Configure the recorder of a test before its cassette is opened: register matchers, set attributes."""
