"""Regular expressions that are compiled when they are first used, and the modules that need them late."""

import copy
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aquila
from aquila import lazy_patterns
from aquila.lazy_patterns import lazy_pattern


def lazy_patterns_of(value):
    """Yield the lazy patterns in a value of a module, also those within tables."""
    if isinstance(value, lazy_patterns._LazyPattern):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from lazy_patterns_of(item)


def test_no_pattern_repeats_a_group_possessively():
    """Before 3.11.5 Python continues where such a group has failed, and not where it began: gh-106052."""
    source = Path(aquila.__file__).parents[1]
    repeats = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+")
    found = {
        f"{path.relative_to(source)}:{number}"
        for path in source.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if repeats.search(line)
    }
    assert not found, "write (?>(?:...)*) instead of (?:...)*+"


def test_every_declared_pattern_is_a_regular_expression():
    source = Path(aquila.__file__).parent
    declared = [
        (module, pattern)
        for path in source.rglob("*.py")
        if "= lazy_pattern(" in path.read_text(encoding="utf-8")
        for module in [importlib.import_module(".".join(path.relative_to(source.parent).with_suffix("").parts))]
        for value in vars(module).values()
        for pattern in lazy_patterns_of(value)
    ]
    assert len(declared) > 60
    for module, pattern in declared:
        assert re.compile(pattern.pattern, pattern.flags), module


def test_a_pattern_is_compiled_at_its_first_use_and_only_once(monkeypatch):
    compiled = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda *arguments: compiled.append(arguments) or real(*arguments))
    pattern = lazy_pattern(rb"(a)(?P<rest>.)", re.DOTALL)
    assert compiled == []
    assert pattern.pattern == rb"(a)(?P<rest>.)"
    for _ in range(2):
        match = pattern.match(b"a\n")
        assert match["rest"] == b"\n"
    assert compiled == [(rb"(a)(?P<rest>.)", re.DOTALL)]
    assert pattern.groupindex == {"rest": 2}
    assert pattern.sub(b"-", b"a1b") == b"-b"


def test_a_mistake_in_a_pattern_is_raised_at_its_use():
    pattern = lazy_pattern("(")
    with pytest.raises(re.error):
        pattern.search("")


def test_unknown_attributes_of_a_pattern_raise_attribute_error():
    pattern = lazy_pattern("a")
    with pytest.raises(AttributeError):
        pattern.finds("a")
    assert copy.copy(pattern).findall("banana") == ["a", "a", "a"]


def test_the_modules_that_find_secrets_compile_nothing_when_they_are_imported():
    program = """
import re, re._compiler, sys
compile, compiled = re._compiler.compile, []
def note(pattern, flags=0):
    frame = sys._getframe(1)
    while frame.f_globals["__name__"].partition(".")[0] == "re":
        frame = frame.f_back
    if frame.f_globals["__name__"].startswith("aquila") and len(pattern) > 3:
        compiled.append((frame.f_globals["__name__"], pattern))
    return compile(pattern, flags)
re._compiler.compile = note
import aquila.cassettes.redaction.redactor, aquila.cassettes.redaction.scrubber, aquila.recording.secrets.outgoing
import aquila.cassettes.redaction.split_secrets.event_layouts
print(compiled)
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
