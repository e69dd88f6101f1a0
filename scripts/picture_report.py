"""Make the pictures of docs/report.md: run the tests of examples/summaries with a report, and photograph it.

``.venv/bin/python scripts/picture_report.py`` needs Chromium. One prompt of the example is changed first, so that there
is a miss to be seen. With ``--all`` it makes those of a phone and of dark mode too, in build/pictures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 380, "height": 800}
BEFORE, AFTER = "Write an executive summary.", "Write a short summary for a busy reader."
VIEWS = {
    "report": "",
    "report-miss": "#test=tests/test_tasks.py::test_a_summary_and_the_raw_answer_are_stored",
}


def run_tests(folder: Path) -> Path:
    """Run the example with a changed prompt, and return its report."""
    project = folder / "summaries"
    shutil.copytree(ROOT / "examples" / "summaries", project, ignore=shutil.ignore_patterns("__pycache__", ".aquila*"))
    tasks = project / "summaries" / "tasks.py"
    source = tasks.read_text("utf-8")
    if BEFORE not in source:
        raise SystemExit(f"{tasks}: there is no {BEFORE!r} any more: change BEFORE in {__file__}")
    tasks.write_text(source.replace(BEFORE, AFTER), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--aquila-report=run.html"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AQUILA_")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 1:  # the changed prompt fails a test
        raise SystemExit(done.stdout + done.stderr)
    return project / "run.html"


def photograph(browser: Browser, report: Path, folder: Path, scheme: str, size: dict[str, int], label: str) -> None:
    """Photograph each view of the report."""
    context = browser.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    for name, address in VIEWS.items():
        page.goto("about:blank")
        page.goto(f"file://{report}{address}")
        page.locator("main .card").first.wait_for()
        page.screenshot(path=folder / f"{name}{label}.png")


def main() -> int:
    """Make the pictures. Returns the exit status."""
    everything = "--all" in sys.argv
    folder = ROOT / "build" / "pictures" if everything else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        report = run_tests(Path(scratch))
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark") if everything else ("light",):
            photograph(browser, report, folder, scheme, WIDE, "" if not everything else f"-{scheme}")
            if everything:
                photograph(browser, report, folder, scheme, PHONE, f"-{scheme}-phone")
        browser.close()
    print(f"made in {folder.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
