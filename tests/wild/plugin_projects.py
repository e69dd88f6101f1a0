"""A user's project whose tests run beside plugins of others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

_FILES = Path(__file__).parent / "plugins"
_SHARED = ("app.py", "provider.py", "pytest.ini", "django_settings.py", "django_urls.py", "cassettes")
_OUTCOME = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|rerun)\b")
_FOREIGN = ("API_KEY", "AQUILA_", "PYTEST_", "WILD_", "COV_", "DJANGO_")


class Project:
    """A user's project with the tests of some plugins. ``plugins`` are loaded, or all that are installed."""

    def __init__(self, folder: Path, files: set[str], *, plugins: tuple[str, ...] | None) -> None:
        self.folder = folder
        self._plugins = plugins
        folder.mkdir()
        for name in {*_SHARED, *files}:
            copy = shutil.copytree if (_FILES / name).is_dir() else shutil.copy
            copy(_FILES / name, folder / name)

    @property
    def calls(self) -> int:
        """How often the provider was asked."""
        file = self.folder / "calls.txt"
        return len(file.read_text("utf-8").splitlines()) if file.exists() else 0

    def run(self, *arguments: str, drift: str = "") -> tuple[Counter[str], str]:
        """Run pytest, with ``drift`` at the end of every prompt; return the number of each outcome, and the output."""
        environment = {name: value for name, value in os.environ.items() if not any(part in name for part in _FOREIGN)}
        environment |= {"WILD_CALLS": str(self.folder / "calls.txt"), "WILD_DRIFT": drift}
        loaded: list[str] = []
        if self._plugins is not None:
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            loaded = [part for name in ("aquila", *self._plugins) for part in ("-p", name)]
        command = [sys.executable, "-m", "pytest", *loaded, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, text=True, capture_output=True, timeout=300, check=False
        )
        output = done.stdout + done.stderr
        last = next((line for line in reversed(done.stdout.splitlines()) if _OUTCOME.search(line)), "")
        found = Counter({name.replace("errors", "error"): int(count) for count, name in _OUTCOME.findall(last)})
        return found, output
