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

@pytest.mark.aquila("new")
def test_new():
    ask("hi")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AQUILA_RUN", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "test_old.py").write_text(TESTS)
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "old.yaml").write_text(CASSETTE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_drifted_requests_are_grouped_by_change(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cassettes", "drift", "--full"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("drift: 1 test, 2 changes\n\n1 test: prompt recorded 'hi', now 'changed")
    assert "\n1 test: prompt recorded 'hi', now 'changed'\n  record again: pytest test_old.py::test_drifted --" in out
    assert "\n1 test with nothing recorded for what is asked\n    test_old.py::test_new\n  record it: pytest " in out
    assert "test_same" not in out
    assert "prompt: recorded 'hi', now 'changed again'" in out.partition("test_old.py::test_drifted\n")[2]
    assert "Some tests failed." in out
    assert main(["cassettes", "drift", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report.pop("pytest") == "pytest"
    assert {name: len(rows) for name, rows in report.items()} == {"groups": 2, "unrecorded": 1, "requests": 3}
    assert {row["cassette"] for row in report["requests"]} == {"old", "new"}
    assert (project / "cassettes" / "old.yaml").read_text() == CASSETTE


@pytest.mark.slow
def test_the_suggested_command_has_the_options_of_the_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder with settings of its own, pytest would take that for the root, and find other cassettes."""
    (project / "part").mkdir()
    (project / "part" / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (project / "test_old.py").rename(project / "part" / "test_part.py")
    assert main(["cassettes", "drift", "--", "-o", "aquila_repeat=last", "-k", "not new"]) == 1
    start = "pytest -o aquila_repeat=last -c pytest.ini"
    assert f"\n    {start} part/test_part.py --aquila-record\n" in capsys.readouterr().out
    assert main(["cassettes", "drift", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["groups"][0]["record"] == "pytest -c pytest.ini part/test_part.py::test_drifted --aquila-record"


@pytest.mark.slow
def test_arguments_go_to_pytest_and_no_drift_is_success(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cassettes", "drift", "--", "-k", "same"]) == 0
    assert capsys.readouterr().out == "drift: none\n"
    assert main(["cassettes", "drift", "--", "--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err
    assert main(["cassettes", "drift", "--", "-k", "no_such_test"]) == 2
    assert "so nothing is known of drift: no test ran" in capsys.readouterr().err
    (project / "test_broken.py").write_text("import no_such_module")
    assert main(["cassettes", "drift"]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert "pytest ended with 2, so nothing is known of drift: ERROR test_broken.py" in found.err
    assert os.listdir(project / "cassettes") == ["old.yaml"]


@pytest.mark.slow
def test_invalid_utf8_in_the_output_of_pytest_is_ignored(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "conftest.py").write_text(
        "import os\ndef pytest_sessionfinish(session):\n    os.write(1, b'\\xff\\xfe\\n')\n"
    )
    assert main(["cassettes", "drift", "--json", "--", "-s", "-k", "same"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"] == []
