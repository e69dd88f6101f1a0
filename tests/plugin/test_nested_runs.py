"""pytest within pytest, in one process: each run has scopes of its own, and the inner one leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import aquila
from aquila.errors import CassetteMiss
from aquila.recording import scope as scopes
from aquila.recording.runtime import current_run
from tests.plugin.conftest import Project
from tests.support.runs import separate_run

TESTS = """
import json, os, subprocess, sys

CHILD = "import aquila, app; print(app.post('from a child'))"

def test_inner(aquila_cassette):
    assert aquila_cassette.name.endswith("test_inner")
    assert post("hi") == 1
    child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
    assert child.stdout.strip() == "2", child.stderr
"""


def environment() -> dict[str, str]:
    """The variables that a run of Aquila may change: all but those of pytest itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


@pytest.mark.slow
def test_a_run_within_a_test_that_uses_a_cassette_has_its_own(project: Project, tmp_path: Path) -> None:
    with separate_run(tmp_path), aquila.use_cassette("outer") as outer:
        before = current_run(), scopes.current_scope(), environment()
        project.record(tests=TESTS).assert_outcomes(passed=1)
        project.run(tests=TESTS).assert_outcomes(passed=1)
        assert len(project.calls) == 2
        assert (current_run(), scopes.current_scope(), environment()) == before
        assert (outer.play_count, outer.record_count, list(outer.misses)) == (0, 0, [])
        with aquila.http_client() as client, pytest.raises(CassetteMiss, match=r"outer\.yaml"):
            client.post("https://provider.example/v1/x", json={"prompt": "hi"})
    assert not (tmp_path / "cassettes").exists()
