"""Every class in the signature of a public name can be imported from a public module, for annotations of users."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from scripts.site import usage

INTERNAL = {
    # Only Aquila gives these to methods of public classes, or gets them from there.
    "FingerprintRule": "aquila.cassettes.redaction.fingerprints",
    "SecretNumbers": "aquila.cassettes.redaction.found_secrets",
    "LargeBodyRedactor": "aquila.cassettes.redaction.window_redaction",
    "FaultKind": "aquila.faults.fault",
    "MetFault": "aquila.faults.plan",
    "SharedFaultCounts": "aquila.faults.plan",
    "Limits": "aquila.huey.limits.settings",
    "TaskGate": "aquila.huey.limits.task_gate",
    "SharedClock": "aquila.huey.live.clock",
    "JobPublisher": "aquila.huey.live.publisher",
    "KeptProgress": "aquila.huey.progress.kept_progress",
    "CassettePlan": "aquila.vcr.option_translation",
    "ScriptedAnswer": "aquila.scripting.script",
    "Answer": "aquila.wire_forms.answer",
    "WireForm": "aquila.wire_forms.form",
    # Users write Huey's own types, or those of `aquila.huey` that fit these protocols.
    "PlainTask": "aquila.huey.tasks.task_types",
    "PlainTaskWrapper": "aquila.huey.tasks.task_types",
}
"""The classes that need no public name, with their modules."""


class Definition(NamedTuple):
    """Where a name is defined, and by which statement. For a module ``name`` is empty and there is no statement."""

    module: str
    name: str
    statement: ast.stmt | None


@cache
def find_definition(module: str, name: str) -> Definition:
    if usage._path_of(f"{module}.{name}"):
        return Definition(f"{module}.{name}", "", None)
    path = usage._path_of(module)
    statements = usage._statements(usage._parse(path).body) if path else ()
    for statement, _ in statements:
        match statement:
            case ast.ClassDef(name=defined) | ast.FunctionDef(name=defined) | ast.AsyncFunctionDef(name=defined):
                if defined == name:
                    return Definition(module, name, statement)
            case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)):
                if target == name:
                    return Definition(module, name, statement)
            case ast.ImportFrom(module=str(origin)):
                for alias in statement.names:
                    if name == (alias.asname or alias.name) and (origin, alias.name) != (module, name):
                        return find_definition(origin, alias.name)
    return Definition(module, name, None)


def annotations_of(statement: ast.stmt | None) -> Iterator[ast.expr]:
    """Yield the annotations of a function, of the public members of a class, and the value of an alias."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            arguments = statement.args
            for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.kwarg):
                if each is not None and each.annotation is not None:
                    yield each.annotation
            if statement.returns is not None:
                yield statement.returns
        case ast.ClassDef():
            # Most objects are made by Aquila alone, so `__init__` is left out. So are the keys of typed dictionaries:
            # who indexes one needs no name for the type.
            if not any(ast.unparse(base).endswith("TypedDict") for base in statement.bases):
                for member, _ in usage._statements(statement.body):
                    name = getattr(member, "name", getattr(getattr(member, "target", None), "id", "_"))
                    if not name.startswith("_") or name == "__call__":
                        yield from annotations_of(member)
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias"), value=ast.expr() as value):
            yield value
        case ast.Assign(value=ast.Subscript() | ast.BinOp() as value):
            yield value
        case ast.AnnAssign():
            yield statement.annotation


def names_in(annotation: ast.AST) -> Iterator[str]:
    match annotation:
        case ast.Constant(value=str(text)):
            yield from names_in(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=ast.Name(id="Literal")):
            return
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[first, *_])):
            yield from names_in(first)
        case ast.Name(id=name):
            yield name
        case _:
            for child in ast.iter_child_nodes(annotation):
                yield from names_in(child)


def classes_in(definition: Definition) -> Iterator[Definition]:
    """Yield the classes of Aquila in the annotations of a definition, also those behind an alias."""
    for annotation in annotations_of(definition.statement):
        for name in names_in(annotation):
            found = find_definition(definition.module, name)
            if isinstance(found.statement, ast.ClassDef):
                yield found
            elif isinstance(found.statement, ast.Assign | ast.AnnAssign) and found != definition:
                yield from classes_in(found)


def test_every_class_in_the_signature_of_a_public_name_has_a_public_name() -> None:
    names = [name for names in usage.names_by_topic().values() for name in names]
    public = {find_definition(*name.rsplit(".", 1)): name for name in names}
    missing = {
        f"{found.module}.{found.name} in {name}"
        for definition, name in public.items()
        for found in classes_in(definition)
        if found not in public and INTERNAL.get(found.name) != found.module
    }
    assert missing == set()


def test_the_class_that_an_alias_stands_for_is_found() -> None:
    found = {definition.name for definition in classes_in(find_definition("aquila", "Prompt"))}
    assert {"Message", "Image"} <= found
