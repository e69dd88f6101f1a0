"""Takes the picture of ``docs/reviewing.md``: the page of a review in a browser. ``--all`` takes that by dark too.

.venv/bin/python scripts/picture_review.py docs/images
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.docs.test_reviewing_page import make_project

AQUILA = Path(sys.executable).with_name("aquila")


def main() -> None:
    """Take the pictures."""
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as project:
        make_project(Path(project))
        command = [AQUILA, "cassettes", "review", "--web"]
        with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as served:
            assert served.stdout is not None
            served.stdout.readline()
            address = served.stdout.readline().strip()
            try:
                take_pictures(address, folder, ("light", "dark") if "--all" in sys.argv else ("light",))
            finally:
                served.terminate()


def take_pictures(address: str, folder: Path, schemes: tuple[str, ...]) -> None:
    """Open the page, and take its picture when it shows the first question."""
    command = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=command, args=["--no-sandbox", "--disable-gpu"])
        for scheme in schemes:
            context = browser.new_context(
                viewport={"width": 1180, "height": 760},
                color_scheme=scheme,  # type: ignore[arg-type]
                device_scale_factor=2,
            )
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("main ins")
            page.screenshot(path=folder / f"review-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
