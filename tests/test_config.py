"""How the values of settings are read."""

import os
from pathlib import Path

import pytest

from aquila.config import SettingsLayers, read_environment
from aquila.errors import ConfigError


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("90", 90), ("12w", 84), ("36h", 1.5)])
def test_an_age_is_a_number_of_days_weeks_or_hours(tmp_path: Path, text: str, days: float) -> None:
    settings = SettingsLayers(tmp_path, ini={"max_age": text}).resolve()
    assert settings.max_age == days


@pytest.mark.parametrize("text", ["0d", "-1w", "w", "12 months", "d12"])
def test_another_age_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="max_age"):
        SettingsLayers(tmp_path, ini={"max_age": text}).resolve()


def test_the_environment_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"EMPTY": "", "LINES": "a=b\nc", "NO_TEXT": os.fsdecode(b"\xff\xfe")}.items():
        monkeypatch.setenv(name, value)
    assert read_environment() == dict(os.environ)
