"""Rows that messages advise to add to a settings file have the intended meaning there."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.setting_lines import AS_ARGUMENTS, setting_line, setting_lines
from aquila.settings import parse_option
from tests.support.examples import examples

PATHS = ["user", "messages[*].name", "tools[0]['x.y']", 'a["b c"]', "<empty>", r"a['b\c']"]
PATTERNS = ["uuid", "date", r"/run-\d+/", r"/it's \w+ (\d+)/", '/"id": "[^"]+"/', r"/ä\\/", "/'''.*?\\d\"\"\"/"]
ROWS = st.one_of(
    st.tuples(st.just("ignore"), st.lists(st.sampled_from(PATHS), min_size=1, unique=True)),
    st.tuples(st.just("normalize"), st.lists(st.sampled_from(PATTERNS), min_size=1, unique=True)),
)


@given(ROWS)
@settings(max_examples=examples(200))
def test_several_values_are_read_back_from_an_ini_and_a_toml_file_and_arguments(
    row: tuple[str, list[str]],
) -> None:
    name, values = row
    in_ini = "\n".join(setting_lines(name, values, "pytest.ini")).partition("=")[2].strip()
    (in_toml,) = tomllib.loads("\n".join(setting_lines(name, values, "pyproject.toml"))).values()
    as_argument = eval("\n".join(setting_lines(name, values, AS_ARGUMENTS)).partition("=")[2])
    for value in (in_ini, in_toml, as_argument):
        assert list(parse_option(name, value, source="a test")) == values


@pytest.mark.parametrize(
    ("file", "name", "value", "line"),
    [
        ("", "repeat", "last", "aquila_repeat = last"),
        ("tox.ini", "match_on", "-origin", "aquila_match_on = -origin"),
        ("pyproject.toml", "repeat", "last", 'aquila_repeat = "last"'),
        ("pytest.toml", "sealed_ports", 5432, 'aquila_sealed_ports = "5432"'),
        ("pyproject.toml", "normalize", r"/run-\d+/", r"aquila_normalize = '/run-\d+/'"),
        ("pyproject.toml", "ignore", "a['b.c']", "aquila_ignore = \"a['b.c']\""),
        (AS_ARGUMENTS, "repeat", "last", 'repeat="last"'),
        (AS_ARGUMENTS, "normalize", r"/run-\d+/", r'normalize=r"/run-\d+/"'),
    ],
)
def test_one_value_is_written_in_one_line(file: str, name: str, value: object, line: str) -> None:
    assert setting_line(name, value, file) == line
