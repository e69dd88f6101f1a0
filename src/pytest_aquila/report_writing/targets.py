"""The files of a run's reports, checked before any test runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from aquila.run_report.partial_files import SUFFIX

SUFFIXES = (".html", ".json")


def read_targets(given: Sequence[str], folder: Path) -> list[Path]:
    """Return the files of ``--aquila-report``, relative to ``folder``, each once. Missing folders are made.

    Raises ``UsageError`` for a file of another kind, and for one that cannot be written.
    """
    targets = list(dict.fromkeys(Path(os.path.abspath(folder / each)) for each in given))
    for target, text in zip(targets, dict.fromkeys(given), strict=False):
        if target.suffix.lower() not in SUFFIXES:
            raise pytest.UsageError(
                f"--aquila-report={text}: a report is a page or data: give a name that ends with .html or .json. Both "
                "can be given, each with an option of its own"
            )
    for target in targets:
        _check_target(target)
    return targets


def partial_of(target: Path, mark: str = "") -> Path:
    """Return the file in which a report is collected, beside it. ``mark`` avoids the file of another run."""
    return target.with_name(target.name + SUFFIX + mark)


def _check_target(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target, error.strerror or str(error)) from None
    if target.is_dir():
        raise _unwritable(target, "it is a folder")
    if not os.access(target.parent, os.W_OK | os.X_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise _unwritable(target, os.strerror(13))


def _unwritable(target: Path, why: str) -> pytest.UsageError:
    return pytest.UsageError(
        f"--aquila-report: {target} cannot be written: {why}. Name a file in a folder that you may write to, such as "
        f"--aquila-report=build/{target.name}"
    )
