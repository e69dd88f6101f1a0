"""Make the pictures of docs/jobs.md: start the demo, wait until there is something to see, and photograph it.

``.venv/bin/python scripts/picture_jobs.py`` needs Chromium and the local model. With ``--all`` it makes those of a
phone and of dark mode too, in build/pictures.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

from playwright.sync_api import Browser, BrowserType, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PORT = "8399"
WIDE, PHONE = {"width": 1400, "height": 860}, {"width": 380, "height": 780}


def open_page(browser: Browser, scheme: str, size: dict[str, int]) -> Page:
    """Open a tab in which only new rows are animated."""
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    return context.new_page()


def photograph(page: Page, url: str, folder: Path, label: str) -> None:
    """Photograph all jobs, and the one that has written for longest."""
    page.goto(url)
    page.wait_for_selector("#connection.on")
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"jobs-all-{label}.png")
    running = page.locator("tr", has_text="Running").locator("td.job a")
    (running if running.count() else page.locator("td.job a", has_text="write_article")).last.click()
    page.wait_for_selector("#connection.on")
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"jobs-one-{label}.png")


def make_pictures(kind: BrowserType, url: str, folder: Path, *, everything: bool) -> None:
    """Wait until some jobs are done, and photograph."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    browser = kind.launch(executable_path=path, args=["--no-sandbox"])
    first = open_page(browser, "light", WIDE)
    first.goto(url)
    first.locator(".badge.done").nth(3).wait_for(timeout=120_000)
    for scheme in ("light", "dark") if everything else ("light",):
        photograph(open_page(browser, scheme, WIDE), url, folder, scheme)
        if everything:
            photograph(open_page(browser, scheme, PHONE), url, folder, f"{scheme}-phone")
    browser.close()


def read_address(output: TextIO) -> str:
    """Return the URL in the first line that the demo prints: ``Open http://... in a browser.``"""
    line = output.readline()
    address = next((word for word in line.split() if word.startswith("http://")), None)
    if address is None:
        raise SystemExit(f"the demo has not started; its first line is {line!r}. Its output is above.")
    return address


def main() -> int:
    """Make the pictures. Returns the exit status."""
    everything = "--all" in sys.argv
    environment = {**os.environ, "JOBS_PORT": PORT, "WATCHING_PACE": "0.15"}
    command = [sys.executable, str(ROOT / "examples" / "watching" / "demo.py")]
    folder = ROOT / "build" / "pictures" if everything else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            url = read_address(demo.stdout)
            with sync_playwright() as driver:
                make_pictures(driver.chromium, url, folder, everything=everything)
        finally:
            demo.send_signal(signal.SIGINT)
    print(f"made in {folder.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
