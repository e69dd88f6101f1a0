"""``aquila cassettes drift`` lists what would fail if contents were compared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aquila.cli import main
from tests.migrating.test_vcr_compat import CASSETTE

TESTS = """
import httpx2, pytest

def ask(prompt):
    return httpx2.post("https://api.openai.com/v1/chat/completions", json={"prompt": prompt}).json()["answer"]

@pytest.mark.aquila("old")
def test_same():
    assert ask("hi") == "from vcrpy"

@pytest.mark.aquila("old")
def test_drifted():
    assert ask("changed") == ask("changed again") == "from vcrpy"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AQUILA_SESSION", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "test_old.py").write_text(TESTS)
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "old.yaml").write_text(CASSETTE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_request_that_drifted_is_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cassettes", "drift", "--full"]) == 1
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:3]] == 2 * ["test_old.py::test_drifted"]
    assert "test_same" not in out
    assert "prompt: recorded 'hi', now 'changed again'" in out
    assert main(["cassettes", "drift", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["cassette"] for row in rows] == ["old", "old"]
    assert (project / "cassettes" / "old.yaml").read_text() == CASSETTE


def test_arguments_go_to_pytest_and_no_drift_is_success(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cassettes", "drift", "--", "-k", "same"]) == 0
    assert main(["cassettes", "drift", "--", "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err
    assert os.listdir(project / "cassettes") == ["old.yaml"]
