"""Every example of the engine's guides runs, and has the result that the guide shows.

An expression with a comment behind it must give what the comment says. To record again what they need:
``pytest tests/engine/test_guides.py --aquila-record``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PYTHON = re.compile(r"^(?:<!-- test: (?P<what>[^\n]*?) -->\n)?```python\n(?P<text>.*?)^```$", re.M | re.S)
PROMISE = re.compile(r"\s{2,}# (?P<value>.+)$")


@pytest.mark.parametrize("guide", ["streaming", "tools", "engine"])
@pytest.mark.aquila(upstream="tests.support.scripted:transport")
def test_examples_do_what_the_guide_says(guide: str, aquila_cassette: Any) -> None:
    page = (DOCS / f"{guide}.md").read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "guide"}
    kept = 0
    for found in PYTHON.finditer(page):
        line = page.count("\n", 0, found.start("text"))
        what = found["what"] or ""
        if what == "not run":
            continue
        if what.startswith("raises "):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the guide names it
                run(found["text"], line, namespace)
            assert type(caught.value).__name__ == what.removeprefix("raises ")
            assert PROMISE.search(found["text"].rstrip())["value"] in str(caught.value)  # type: ignore[index]
            continue
        kept += run(found["text"], line, namespace)
    assert kept > 0
    assert aquila_cassette.all_played


def run(text: str, line: int, namespace: dict[str, Any]) -> int:
    """Execute an example; return how many promises it kept."""
    rows = text.splitlines()
    kept = 0
    for statement in ast.parse("\n" * line + text).body:
        promise = PROMISE.search(rows[(statement.end_lineno or 0) - line - 1])
        if isinstance(statement, ast.Expr) and promise:
            value = eval(compile(ast.Expression(statement.value), "guide", "eval"), namespace)
            assert promise["value"] in (str(value), repr(value)), f"line {statement.lineno}: gave {value!r}"
            kept += 1
        else:
            exec(compile(ast.Module([statement], []), "guide", "exec"), namespace)
    return kept
