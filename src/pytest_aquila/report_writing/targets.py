"""The files to which a run writes: checked before any test runs, and the JSON that is written to them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from aquila.recording.secrets import outgoing
from aquila.run_report.partial_files import SUFFIX
from pytest_aquila.run_life import RUN
from pytest_aquila.summary.run_news import News, NewsKind, add_news

SUFFIXES = (".html", ".json")


def parse_targets(given: Sequence[str], folder: Path) -> list[Path]:
    """Return the files of ``--aquila-report``, relative to ``folder``, each once. Missing folders are made.

    Raises ``UsageError`` for a file of another kind, and for one that cannot be written.
    """
    targets: dict[Path, str] = {}
    for text in given:
        targets.setdefault(Path(os.path.abspath(folder / text)), text)
    for target, text in targets.items():
        if target.suffix.lower() not in SUFFIXES:
            raise pytest.UsageError(
                f"--aquila-report={text}: the name of a report ends with .html or .json, for a page or "
                "its data; for both, give the option twice"
            )
    for target in targets:
        prepare_target(target, "--aquila-report")
    return list(targets)


def partial_of(target: Path, mark: str = "") -> Path:
    """Return the file in which a report is collected, beside it. ``mark``, at its end, tells runs apart."""
    return target.with_name(target.name + SUFFIX + mark)


def prepare_target(target: Path, option: str, *, in_place: bool = False) -> None:
    """Make the folder of a file that ``option`` names. Raises ``UsageError`` if the file cannot be written.

    ``in_place`` says that the file is not replaced by a new one. So it may be in a folder that cannot be changed, as
    ``/dev/stdout`` is.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _unwritable(target, option, "there is a file where its folder would be") from None
    except OSError as error:
        raise _unwritable(target, option, error.strerror or str(error)) from None
    if target.is_dir():
        raise _unwritable(target, option, "it is a folder")
    is_there = target.exists()
    may_add = (in_place and is_there) or os.access(target.parent, os.W_OK | os.X_OK)
    if not may_add or (is_there and not os.access(target, os.W_OK)):
        raise _unwritable(target, option, os.strerror(errno.EACCES))


def write_json(config: pytest.Config, name: str, value: object) -> bool:
    """Write JSON without secrets to the file ``name`` of an option. Return whether that succeeded.

    If not, the summary says so. The forked child of a test writes nothing: after ``sys.exit`` pytest goes on there as
    if it were the run.
    """
    if not config.stash[RUN].is_here:
        return True
    path = Path(config.invocation_params.dir, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(outgoing.redact_outgoing_value(value), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        add_news(config, News(NewsKind.FAILED_REPORT, f"{path}: the report was not written: {error.strerror or error}"))
        return False
    return True


def _unwritable(target: Path, option: str, why: str) -> pytest.UsageError:
    return pytest.UsageError(
        f"{option}: {target} cannot be written: {why}. Name a file in a folder that you may write to, such as "
        f"{option}=build/{target.name}"
    )
