"""The script that makes the pictures of docs/jobs.md understands what the demo prints."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")
def test_the_script_reads_the_address_that_the_demo_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = load("scripts/picture_jobs.py")
    monkeypatch.setenv("JOBS_PORT", pictures.PORT)
    demo = load("examples/watching/demo.py")
    printed = io.StringIO("jobs of watched_tasks:huey at http://127.0.0.1:1/\nthe token to act there: a-token\n")

    @contextlib.contextmanager
    def started(*command: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(stdout=printed)

    monkeypatch.setattr(demo, "FOLDER", tmp_path / "watching")
    monkeypatch.setattr(demo, "started", started)
    monkeypatch.setattr(demo, "enqueue_jobs", lambda: None)
    monkeypatch.setattr(demo.signal, "pause", lambda: None)
    assert demo.main() == 0
    output = capsys.readouterr().out
    assert pictures.read_address(io.StringIO(output)) == f"http://127.0.0.1:{pictures.PORT}/"
    assert "a-token" in output


@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")
def test_a_demo_that_does_not_start_ends_the_script() -> None:
    with pytest.raises(SystemExit, match="the demo has not started"):
        load("scripts/picture_jobs.py").read_address(io.StringIO(""))
