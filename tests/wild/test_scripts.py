"""Answers of scripts as the official SDKs and frameworks read them. `make test-wild` runs it.

The tests are a project's own, in `tests/wild/scripts`, and each file runs in a process of its own: without a key, with
the provider's real host, and with the retries that the SDK has.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.wild.project_runs import run_file_of_project

_FILES = Path(__file__).parent / "scripts"
SDKS = {
    "wild": (
        "test_anthropic_script.py",
        "test_gemini_script.py",
        "test_openai_script.py",
        "test_ollama_script.py",
        "test_bedrock_script.py",
        "test_frameworks_script.py",
    ),
    "wild-openai2": ("test_openai_script.py",),
}
"""For each group of `pyproject.toml` the files whose clients it has."""


@pytest.mark.long(40)
@pytest.mark.parametrize("file", SDKS.get(os.environ["WILD_GROUP"], ()))
def test_an_sdk_hears_what_was_scripted(file: str, tmp_path: Path) -> None:
    run_file_of_project(tmp_path, sources=_FILES, helper="heard.py", file=file)
