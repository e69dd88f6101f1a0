"""Checks that this checkout can be released: `make release-check`.

It builds a wheel and a source distribution of the library and of the plugin, checks what is in them and what an index
will show, installs the wheels and the sources into an empty environment of the oldest and of the newest Python here,
and runs the README there, without the source. At the end it
lists what has to be decided before a release. The exit code is 0 if nothing is wrong and nothing is left to decide, 1
if something is wrong, and 3 if only decisions are left.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
PARTS_FOR_README = ("tests", "cassettes", "docs", "examples", "README.md", "conftest.py", "pyproject.toml")
_OPEN, _WRONG = 3, 1


class ReleaseError(Exception):
    """Something is wrong with this checkout. The message says what, and what to do."""


def main() -> int:
    version = PROJECT["version"]
    try:
        with tempfile.TemporaryDirectory(prefix="aquila-release-") as name:
            folder = Path(name)
            library = build(REPOSITORY, folder / "library")
            plugin = build(REPOSITORY / "plugin", folder / "plugin")
            check_contents(*library)
            check_plugin_contents(*plugin)
            for wheel in (library[0], plugin[0]):
                check_page(wheel)
            for python in find_pythons():
                for pair in zip(library, plugin, strict=True):
                    try_readme(python, *pair, folder)
    except ReleaseError as error:
        print(f"WRONG  {error}", file=sys.stderr)
        return _WRONG
    decisions = list(find_decisions(version))
    for decision in decisions:
        print(f"OPEN   {decision}")
    print(f"{'nothing is left to decide' if not decisions else 'to be decided first'}: release of {version}")
    return _OPEN if decisions else 0


def run(*command: str | Path, cwd: Path = REPOSITORY) -> str:
    """Run a command and return what it prints. Raises ``ReleaseError`` with the end of that where it fails."""
    words = [str(word) for word in command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=900)
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"{' '.join(words)} did not end within 900 s") from None
    if done.returncode:
        printed = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise ReleaseError(f"{' '.join(words)} ended with {done.returncode}:\n{printed}")
    return done.stdout


def build(project: Path, folder: Path) -> tuple[Path, Path]:
    """Build the wheel of a project, out of its source distribution, and return both."""
    run(sys.executable, "-m", "build", "--outdir", folder, project)
    [wheel], [source] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    print(f"ok     built {source.name} and {wheel.name}")
    return wheel, source


def check_contents(wheel: Path, source: Path) -> None:
    """Check that the library's distributions hold what they need, and nothing that belongs here alone."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    folders = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    if folders != {"aquila", "pytest_aquila", "aquila_guard.pth"}:
        raise ReleaseError(f"the wheel holds {sorted(folders)}: see [tool.hatch.build] in pyproject.toml")
    with tarfile.open(source) as packed:
        packed_names = [name.partition("/")[2] for name in packed.getnames()]
    for package in ("aquila", "pytest_aquila"):
        if f"{package}/py.typed" not in names:
            raise ReleaseError(f"the wheel has no {package}/py.typed, so its types are not seen")
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "src/aquila/py.typed"):
        if name not in packed_names:
            raise ReleaseError(f"the source distribution lacks {name}")
    stray = re.compile(r"(^|/)(\.ci|\.venv|__pycache__)(/|$)|\.(orig|rej|bak|pyc)$")
    hidden = [name for name in (*names, *packed_names) if stray.search(name)]
    if hidden:
        raise ReleaseError(f"a distribution holds {hidden[0]}, which belongs to nobody else")
    print(f"ok     {len(names)} files in the wheel, {len(packed_names)} in the source distribution")


def check_plugin_contents(wheel: Path, source: Path) -> None:
    """Check that the plugin's wheel is its entry point alone, and that its source holds what builds it."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = "".join(archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    if len({name.partition("/")[0] for name in names}) != 1 or "aquila = pytest_aquila.plugin" not in entry_points:
        raise ReleaseError(f"the plugin's wheel holds {sorted(names)}: see plugin/pyproject.toml")
    with tarfile.open(source) as packed:
        held = {member.name.partition("/")[2] for member in packed.getmembers() if member.isfile()}
    if missing := {"README.md", "LICENSE", "pyproject.toml"} - held:
        raise ReleaseError(f"the plugin's source distribution lacks {', '.join(sorted(missing))}")
    print(f"ok     {len(names)} files in the plugin's wheel, {len(held)} in its source distribution")


def check_page(wheel: Path) -> None:
    """Check the metadata, and that the page on an index has no link that leads nowhere there."""
    run(sys.executable, "-m", "twine", "check", "--strict", wheel)
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        page = Parser().parsestr(archive.read(name).decode()).get_payload()
    left = re.findall(r"\]\((?!https?:)([^)]*)\)", str(page))
    if left:
        raise ReleaseError(f"the page for an index links to {left[0]}: see fancy-pypi-readme in pyproject.toml")
    print(f"ok     metadata of {wheel.name}, and the page that an index shows")


def find_pythons() -> Iterator[str]:
    """Yield the oldest Python that is supported, and the newest one here."""
    oldest = PROJECT["requires-python"].removeprefix(">=")
    for wanted in (oldest, "newest"):
        yield run("sh", REPOSITORY / "scripts" / "find-python.sh", wanted).strip()


def try_readme(python: str, library: Path, plugin: Path, folder: Path) -> None:
    """Install both distributions into an empty environment, and run the README there."""
    place = Path(tempfile.mkdtemp(dir=folder))
    run(python, "-m", "venv", place / "venv")
    installed = place / "venv" / "bin" / "python"
    run(installed, "-m", "pip", "install", "--quiet", f"{library}[openai,huey]", plugin, "httpx", cwd=place)
    for part in PARTS_FOR_README:
        path = REPOSITORY / part
        if path.is_dir():
            shutil.copytree(path, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, place / part)
    run(installed, "-m", "pytest", "tests/docs/test_pages.py", "-k", "every_snippet and README", cwd=place)
    version = run(installed, "-c", "import platform; print(platform.python_version())").strip()
    print(f"ok     {library.name} and {plugin.name} run the README on Python {version}")


def find_decisions(version: str) -> Iterator[str]:
    """Yield what somebody has to decide before a release."""
    if not PROJECT.get("urls"):
        yield "pyproject.toml has no [project.urls]: add the addresses of the repository and of the documentation"
    heading = re.search(
        rf"^## \[{re.escape(version)}\] - (.*)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    if heading is None:
        yield f"CHANGELOG.md has no section for {version}"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        yield f"CHANGELOG.md says {heading[1]!r} where the date of {version} belongs"


if __name__ == "__main__":
    sys.exit(main())
