"""The declared methods of ``aquila_faults``, which type checkers and editors read, agree with the table of faults."""

from __future__ import annotations

import ast
from pathlib import Path

from aquila.faults.fault import FaultKind
from aquila.faults.table import FAULTS
from aquila.testing import use_faults

DECLARED = Path(use_faults.__file__).with_name("fault_methods.pyi")


def signature_of(kind: FaultKind) -> str:
    """The parameters of a fault; only the first may be given without its name."""
    own = [f"{name}: {parameter.annotation}={parameter.default!r}" for name, parameter in kind.parameters.items()]
    return ", ".join(["self", *own[:1], "*", *own[1:], "times: int | None=1"])


def test_each_fault_is_declared_as_a_method_with_its_parameters() -> None:
    tree = ast.parse(DECLARED.read_text(encoding="utf-8"))
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    declared = {each.name: (ast.unparse(each.args), ast.get_docstring(each) or "") for each in methods}
    expected = {name: (signature_of(kind), kind.summary) for name, kind in FAULTS.items()}
    assert {name: (args, " ".join(text.split())) for name, (args, text) in declared.items()} == expected, (
        "each fault has its method in testing/fault_methods.pyi"
    )
