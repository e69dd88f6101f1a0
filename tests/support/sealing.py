"""Sealed runs: checks whether this machine permits them, and starts pytest as a user does."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

_SEAL = "from aquila.intercept.sealing.entering import main; main()"


@functools.cache
def _try_sealing() -> tuple[bool, str]:
    """Return whether a process may enter a network namespace of its own here, and what it is told meanwhile."""
    if sys.platform != "linux":
        return False, "only Linux has network namespaces"
    done = subprocess.run([sys.executable, "-c", _SEAL, "", "/bin/true"], capture_output=True, text=True, check=False)
    return done.returncode == 0, " ".join(done.stderr.split())


def needs_sealing() -> pytest.MarkDecorator:
    """A mark that skips tests of sealed processes where the machine does not permit sealing."""
    is_permitted, told = _try_sealing()
    return pytest.mark.skipif(not is_permitted, reason=f"this machine does not permit sealing: {told}")


def needs_user_namespace() -> pytest.MarkDecorator:
    """A mark that skips tests where root is sealed without a user namespace, as in a chroot or a container."""
    is_permitted, told = _try_sealing()
    return pytest.mark.skipif(not is_permitted or bool(told), reason=f"no process gets a user namespace here: {told}")


COMMAND = str(Path(sys.executable).with_name("pytest"))
SEALED = {"AQUILA_GUARD": "sealed"}


def write_tests(folder: Path, text: str, name: str = "test_it.py") -> None:
    (folder / name).write_text(textwrap.dedent(text))


def run_pytest(
    folder: Path,
    *arguments: str,
    command: tuple[str, ...] = (COMMAND,),
    plugins: tuple[str, ...] = ("aquila",),
    env: Mapping[str, str] | None = None,
    **how: Any,
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder in a new process, as a user does, with only these plugins."""
    loaded = [part for plugin in plugins for part in ("-p", plugin)]
    started = [*command, *loaded, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        started,
        cwd=folder,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **how,
    )


def start_sealed_pytest(folder: Path) -> subprocess.Popen[str]:
    """Start a sealed pytest in a folder, in a session of its own. Its output is a pipe."""
    return subprocess.Popen(
        [COMMAND, "-p", "aquila", "-p", "no:cacheprovider", "-s"],
        cwd=folder,
        env=environment(**SEALED),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILA_", "PYTEST_"))}
    kept.pop("PYTHONPATH", None)
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
