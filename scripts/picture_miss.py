"""Makes ``docs/images/miss.png``: the output of a test whose prompt has changed, in a terminal.

    .venv/bin/python scripts/picture_miss.py

The tests are those of the README, and pytest runs them; Chromium draws what it prints.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

REPOSITORY = Path(__file__).parents[1]
PICTURE = REPOSITORY / "docs" / "images" / "miss.png"
WIDTH, LINE_HEIGHT = 1060, 21  # CSS pixels

_EIGHT = [(74, 81, 88), (255, 123, 114), (126, 231, 135), (227, 179, 65), (121, 192, 255), (210, 168, 255),
          (118, 227, 234), (214, 219, 224)]  # fmt: skip
COLOURS = TerminalTheme((27, 31, 35), (214, 219, 224), _EIGHT, _EIGHT)

PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 24px; background: #fff; }}
div {{ background: #1b1f23; border-radius: 10px; padding: 14px 22px 20px; color: #d6dbe0; }}
div::before {{ content: "● ● ●"; color: #4a5158; font-size: 13px; letter-spacing: 3px; }}
pre {{ margin: 10px 0 0; font: 14px/{line_height}px "DejaVu Sans Mono", monospace; white-space: pre-wrap; }}
</style><div><pre>{text}</pre></div>"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write_project(project, "one sentence")
        run_tests(project, "--aquila-record")
        write_project(project, "one short sentence")
        printed = run_tests(project, "--color=yes")
    lines = printed.replace(f"{folder}/", "").splitlines()
    failure = next(at for at, line in enumerate(lines) if "FAILURES" in line)
    end = next(at for at, line in enumerate(lines) if "short test summary" in line)
    draw("\n".join(["$ pytest", "...", *lines[failure + 1 : end]]), PICTURE)


def write_project(project: Path, length: str) -> None:
    """Write the two files of the README, of which the first asks for a summary of a length."""
    blocks = re.findall(r"^```python\n(# (\S+)\n.*?)^```", (REPOSITORY / "README.md").read_text("utf-8"), re.M | re.S)
    for code, name in blocks[:2]:
        (project / name).write_text(code.replace("one sentence", length), encoding="utf-8")
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")


def run_tests(project: Path, *options: str) -> str:
    """Run pytest as the documentation's tests do, and return what it prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "tests" / "docs" / "upstream"),
        "AQUILA_UPSTREAM": "docs_upstream:transport",
        "COLUMNS": "108",
        "OPENAI_API_KEY": "sk-of-a-reader-0123456789",
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def draw(text: str, picture: Path) -> None:
    """Draw coloured text as a terminal shows it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    console = Console(record=True, width=108, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(text))
    html = console.export_html(inline_styles=True, code_format="{code}", theme=COLOURS)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(PAGE.format(text=html, line_height=LINE_HEIGHT), encoding="utf-8")
        height = 48 + 14 + 20 + 26 + LINE_HEIGHT * (html.rstrip().count("\n") + 1)
        picture.parent.mkdir(exist_ok=True)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=2"]
        size = [f"--window-size={WIDTH},{height}", f"--screenshot={picture}"]
        subprocess.run([program, *options, *size, page.as_uri()], check=True, capture_output=True, timeout=120)
    print(picture.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
