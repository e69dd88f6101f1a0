"""Every fault there is, with the official SDKs: synchronous and asynchronous, by their helpers, new and old.

The tests are a project's own, in `tests/wild/faults`, and each file runs in a process of its own. Each has a
table, and goes over that of the faults, so that a new fault cannot be forgotten.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.wild.project_runs import run_file_of_project

_FILES = Path(__file__).parent / "faults"
SDKS = {
    "wild": ("test_anthropic_faults.py", "test_gemini_faults.py", "test_openai_faults.py"),
    "wild-openai2": ("test_openai_faults.py",),
}


@pytest.mark.long(60)
@pytest.mark.parametrize("file", SDKS.get(os.environ["WILD_GROUP"], ()))
def test_an_sdk_meets_faults(file: str, tmp_path: Path) -> None:
    run_file_of_project(tmp_path, sources=_FILES, helper="spoilt.py", file=file)
