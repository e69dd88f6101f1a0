"""The package has no code that only tests use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from tests.test_layers import SOURCE, nodes

REPOSITORY = SOURCE.parent
WORD = re.compile(r"\w+")

CALLED_BY_OTHERS = {
    "_check_chord": "Huey",
    "create_consumer": "Huey",
    "get_task_wrapper_class": "Huey",
    "pause_reading": "aiohttp, at its transport",
    "resume_reading": "aiohttp, at its transport",
    "putheader": "vcrpy, at its real connection",
    "makefile": "http.client, at a socket",
    "process_redirect": "websockets, at its client",
    "main_loop": "uvicorn, at its server",
    "dirty": "programs that know the cassettes of vcrpy",
    "can_play_response_for": "programs that know the cassettes of vcrpy",
    "drop_all": "programs, at what `dead_letters` returns",
    "context_task": "programs, at their Huey",
    "retries_left": "tasks, at what `current_task` returns",
}
"""Methods that nothing here names, with who calls them."""


def find_names(modules: Mapping[str, Iterable[ast.AST]]) -> tuple[dict[str, str], set[str]]:
    """Return the functions, methods and classes of some modules with their places, and every name that code uses.

    The nodes of each module are in the order of ``ast.walk``: each node before those below it.
    Fixtures and hooks are left out. A name is used if code reads it, passes it, or has it in a text, such as the table
    of public names.
    """
    defined: dict[str, str] = {}
    used: set[str] = set()
    for module, found in modules.items():
        prose: set[ast.AST] = set()
        for node in found:
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    used.add(name)
                case ast.keyword(arg=str(name)):
                    used.add(name)
                case ast.Expr(value=ast.Constant() as text):
                    prose.add(text)
                case ast.Constant(value=str(text)) if node not in prose:
                    used.update(WORD.findall(text))
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    is_fixture = any("fixture" in ast.unparse(each) for each in node.decorator_list)
                    if not (is_fixture or node.name.startswith(("__", "pytest_"))):
                        defined[node.name] = f"{module}:{node.lineno}"
    return defined, used


def documented_names() -> set[str]:
    pages = [*(REPOSITORY / "docs").rglob("*.md"), *(SOURCE / "aquila").rglob("*.html")]
    return {name for page in pages for name in WORD.findall(page.read_text(encoding="utf-8"))}


def test_no_function_or_class_is_there_for_tests_alone() -> None:
    defined, used = find_names(nodes())
    known = used | documented_names()
    unused = {name: place for name, place in defined.items() if name not in known}
    assert {name: place for name, place in unused.items() if name not in CALLED_BY_OTHERS} == {}
    assert CALLED_BY_OTHERS.keys() - unused.keys() == set(), "these are used now, or gone: take them off the list"


def test_a_name_in_a_table_counts_as_used_and_one_in_prose_does_not() -> None:
    source = '''
def lonely() -> None:
    """Unlike lonely, others are used."""

@pytest.fixture
def fixed(): ...

def listed(): ...

table = {"name": "package.module:listed"}
'''
    defined, used = find_names({"module": ast.walk(ast.parse(source))})
    assert defined.keys() - used == {"lonely"}
