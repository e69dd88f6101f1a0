"""The suite's own surroundings: what a developer's shell happens to hold must not decide a test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runs import separate_run

for _name in list(os.environ):
    if _name.startswith(("OPENAI_", "AQUILA_")) and _name not in ("AQUILA_CORPUS", "AQUILA_FUZZ"):
        del os.environ[_name]
# Children compile every module again where bytecode must not be written, and many tests start children.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Tests talk to servers on this machine; a proxy that was needed to install packages must not stand between.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cassette folder of a project of its own, outside pytest's rules and outside this test's scope."""

    with separate_run(tmp_path):
        yield tmp_path / "cassettes"
