"""Signs that a program noticed a fault: executed code, exceptions and truth values; and whose files are own code."""

from __future__ import annotations

import enum
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aquila.fault_verdicts.executed_code import ExecutedCode, describe_truths
from aquila.fault_verdicts.own_code import make_own_code_check


class Reason(enum.Enum):
    CUT = "length"


@dataclass
class Told:
    text: str
    complete: bool


class Pair(NamedTuple):
    text: str
    reason: Reason


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (False, "False"),
        (Reason.CUT, "Reason.CUT"),
        (Told("one", False), "complete=False"),
        (Pair("one", Reason.CUT), "1=Reason.CUT"),
        (("one", True), "1=True"),
        ({"text": "one", "complete": False, "count": 1}, "complete=False"),
        ("one", ""),
        (1, ""),
        ({"choices": [{"done": True}]}, ""),
        (NotImplementedError("of the standard library"), ""),
    ],
)
def test_only_truth_values_and_enum_members_are_described(value: object, said: str) -> None:
    assert describe_truths(value, lambda file: file == __file__) == said


PROGRAM = """
def read(reason):
    return {"text": "one", "complete": reason == "stop"}

def ignore(reason):
    return read(reason)["text"]

def check(reason):
    if reason != "stop":
        return "cut"
    return "one"

def trust(reason):
    return ["one", reason]

def default(text):
    return [text or ""]

def default_number(text):
    return [len(text) or 0]

class Answer:
    def __init__(self, reason):
        self.reason = reason

    @property
    def text(self):
        return {"stop": 1}.get(self.reason).real

def lose_exception(reason):
    return [getattr(Answer(reason), "text", "")]

def loop(events):
    text = ""
    for event in events:
        text += event
    return text
"""


@pytest.mark.parametrize(
    ("name", "usual", "other", "differs"),
    [
        ("read", "stop", "length", True),
        ("ignore", "stop", "length", False),
        ("check", "stop", "length", True),
        ("trust", "stop", "length", False),
        ("default", "one", "", False),
        ("default_number", "one", "", False),
        ("lose_exception", "stop", "length", True),  # an AttributeError, which ``getattr`` catches
        ("loop", "abc", "a", False),
        ("loop", "abc", "", False),
    ],
)
def test_code_that_checks_an_answer_is_distinguished_from_code_that_does_not(
    name: str, usual: str, other: str, differs: bool, tmp_path: Path
) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)

    def places(value: str) -> set[str]:
        names: dict[str, Any] = {}
        exec(compile(PROGRAM, str(file), "exec"), names)  # anew, because each code object is noted only once
        code, before = ExecutedCode(lambda name: name in (str(file), __file__)), sys.gettrace()
        code.start()
        try:
            names[name](value)
        finally:
            code.stop()
            sys.settrace(before)
        return code.places()

    in_threads = threading.gettrace()
    try:
        assert (not places(other) <= places(usual)) is differs
        assert threading.gettrace() is None  # else each later thread of the process would go on noting
    finally:
        threading.settrace(in_threads)


def test_an_installed_project_from_a_local_file_is_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    for package, source in (("mine", '{"url": "file:///src/dist/mine-1.tar.gz", "archive_info": {}}'), ("other", "")):
        information = site / f"{package}-1.dist-info"
        information.mkdir(parents=True)
        (site / package).mkdir()
        (site / package / "__init__.py").touch()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (information / "RECORD").write_text(f"{package}/__init__.py,,\n{package}-1.dist-info/METADATA,,\n")
        if source:
            (information / "direct_url.json").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(str(site))
    is_own = make_own_code_check()
    assert is_own(str(site / "mine" / "app.py"))
    assert is_own(str(tmp_path / "tests" / "test_app.py"))
    assert not is_own(str(site / "other" / "app.py"))
    assert not is_own(str(site / "mine-1.dist-info"))
    assert not is_own(textwrap.__file__)
    assert not is_own("<string>")
