"""The targets hold, and a run that gives a target no input fails."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.docs.snippets import REPOSITORY
from tests.fuzz.targets import TARGETS
from tests.support.examples import examples


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_a_target_holds(target: Callable[[], None]) -> None:
    settings(max_examples=examples(25), deadline=None)(target)()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_run_counts_what_each_target_was_given_and_fails_if_that_is_nothing() -> None:
    ran = run("--seconds", "0.1", "redaction")
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"redaction +[1-9][0-9,]* inputs\n", ran.stdout)
    idle = run("--seconds", "0", "redaction", "messages")
    assert idle.returncode == 1
    assert "nothing was run of: redaction, messages" in idle.stderr
