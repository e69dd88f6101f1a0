"""No command shows a secret of the machine, whichever recorder wrote the file, and whatever the user typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from aquila.cli import main

KEY = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"

VCRPY = f"""
interactions:
- request:
    body: '{{"model": "m", "prompt": "use {KEY}"}}'
    headers:
      Authorization: [Bearer {KEY}]
      Content-Type: [application/json]
    method: POST
    uri: https://provider.example/v1/x?who={KEY}
  response:
    body: {{string: '{{"echo": "{KEY}"}}'}}
    headers:
      Content-Type: [application/json]
      X-Echo: [{KEY}]
    status: {{code: 200, message: OK}}
version: 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "theirs.yaml").write_text(VCRPY)
    (tmp_path / "cassettes" / f"for-{KEY}.yaml").write_text(VCRPY.replace("use", "do not use"))
    (tmp_path / "cassettes" / "broken.yaml").write_text(f"interactions: {KEY}")
    return tmp_path / "cassettes"


COMMANDS: list[Sequence[str]] = [
    ("show", "theirs"),
    ("show", "theirs", "--yaml"),
    ("show", "theirs", "-n", "1"),
    ("show", "theirs", "-n", "1", "--json"),
    ("show", "broken"),
    ("show", f"none-{KEY}"),
    ("list",),
    ("list", "--json"),
    ("stats",),
    ("stats", "--json"),
    ("scan",),
    ("scan", "--json"),
    ("diff", "theirs", f"for-{KEY}"),
    ("diff", "theirs", f"for-{KEY}", "--json"),
    ("accept", "--dry-run"),
    (f"what-{KEY}",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_shows_a_key(
    command: Sequence[str], folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    main(["cassettes", *command])
    said = b"".join(capfdbinary.readouterr())
    assert said
    assert KEY.encode() not in said
