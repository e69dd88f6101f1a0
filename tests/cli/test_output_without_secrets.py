"""No command shows a key of the environment, whether it is in a cassette, in a file name, or in an argument."""

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
    (tmp_path / "cassettes" / f"for-{KEY}.pending.yaml").write_text(VCRPY)
    (tmp_path / "cassettes" / f"broken-{KEY}.pending.yaml").write_text(f"interactions: {KEY}")
    (tmp_path / "cassettes" / f"for-{KEY}.msgpack").write_text("a shadowed cassette")
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
    ("accept", f"none-{KEY}"),
    ("review", "--list"),
    ("review", "--json"),
    ("review", f"none-{KEY}"),
    ("drift", f"none-{KEY}"),
    ("prune", "--dry-run"),
    ("prune", "--dry-run", "--json"),
    ("prune", "--orphans", f"none-{KEY}.json", "--yes"),
    ("convert", f"for-{KEY}", "--to", "msgpack"),
    ("convert", "theirs", "--to", "yaml"),
    ("convert", "broken", "--to", "yaml"),
    ("mv", f"for-{KEY}", "other"),
    ("mv", "theirs", f"for-{KEY}"),
    ("mv", f"none-{KEY}", "other"),
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


def test_a_question_shows_neither_a_key_nor_control_characters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "back\u202e.pending.yaml").write_text(VCRPY)
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    main(["cassettes", "accept"])
    assert [each.removesuffix("[y/N] ").strip() for each in asked] == [
        r"Accept back\u202e?",
        "Accept broken-[redacted]?",
        "Accept for-[redacted]?",
    ]
