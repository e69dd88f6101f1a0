"""Every public name has an example: in its docstring, all of which are executed here, or in a page that is executed."""

from __future__ import annotations

import ast
import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import aquila
from scripts.site import usage
from tests.support.runs import separate_run
from tests.support.slow import slow_but


def examples_of(path: Path) -> Iterator[tuple[str, int, str]]:
    """The docstrings of a module that have examples, with their lines: also those of variables."""
    text = path.read_text(encoding="utf-8")
    if usage.PROMPT not in text:
        return
    module = path.relative_to(usage.SOURCE).with_suffix("").as_posix()
    nodes: list[ast.AST] = [ast.parse(text)]
    for node in nodes:
        for statement in getattr(node, "body", ()):
            nodes.append(statement)
            docstring = usage.text_of(statement)
            if usage.PROMPT in docstring:
                yield f"{module}:{getattr(node, 'name', statement.lineno)}", statement.lineno, docstring


EXAMPLES = [(name, line, text) for path in sorted(usage.SOURCE.rglob("*.py")) for name, line, text in examples_of(path)]


@pytest.mark.parametrize(
    ("name", "line", "text"),
    slow_but(EXAMPLES[::6], EXAMPLES, of_several_names=True),
    ids=[name for name, _, _ in EXAMPLES],
)
def test_a_docstring_example_gives_what_it_says(
    name: str, line: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(inspect.cleandoc(text), {"aquila": aquila}, name, name, line)
    told: list[str] = []
    provider = "tests.support.scripted:transport"
    with separate_run(tmp_path, defaults={"transport": provider, "upstream": provider}):
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def test_every_public_name_has_an_example() -> None:
    names = [name for names in usage.names_by_topic().values() for name in names]
    assert len(names) > 200
    assert [name for name in names if not has_example(name)] == []


def has_example(name: str) -> bool:
    """Whether the docstring or a page shows a name, or the function whose type it is."""
    shown = (each for each in (name, usage.find_function_of(name)) if each)
    return any(usage.shows_itself(each) or usage.find_snippet(each) for each in shown)


def test_a_name_without_an_example_is_noticed() -> None:
    assert not usage.shows_itself("aquila.option_parsing.OPTIONS")
    assert usage.find_snippet("aquila.option_parsing.OPTIONS") is None
