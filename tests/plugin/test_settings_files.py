"""The files from which pytest reads settings: in which forms they may give a value, and how advice names them."""

from __future__ import annotations

import re

import pytest

NATIVE = pytest.mark.skipif(pytest.version_tuple < (9, 0, 2), reason="an older pytest cannot be asked")

LISTS = """
aquila_ignore_hosts = ["a.example", "b.example"]
aquila_ignore = ["user", "metadata[0]"]
aquila_sealed_ports = [5432, 6379]
aquila_timeout = 7
aquila_huey = ["app:huey", "app:mail"]
"""
TEXTS = """
aquila_ignore_hosts = "a.example b.example"
aquila_ignore = '''
    user
    metadata[0]
'''
aquila_sealed_ports = "5432 6379"
aquila_timeout = "7"
aquila_huey = "app:huey app:mail"
"""
TABLES = [
    ("pyproject.toml", "[tool.pytest.ini_options]"),
    pytest.param("pyproject.toml", "[tool.pytest]", marks=NATIVE),
    pytest.param("pytest.toml", "[pytest]", marks=NATIVE),
]
APP = "from aquila.huey import MemoryHuey\nhuey, mail = MemoryHuey('app'), MemoryHuey('mail')\n"


@pytest.mark.parametrize("values", [LISTS, TEXTS], ids=["lists", "texts"])
@pytest.mark.parametrize(("file", "table"), TABLES)
def test_toml_gives_several_values_as_a_list_or_as_one_text(
    pytester: pytest.Pytester, file: str, table: str, values: str
) -> None:
    pytester.path.joinpath(file).write_text(f"{table}\n{values}")
    pytester.makepyfile(
        app=APP,
        test_it="""
        from aquila.recording import runtime

        def test_settings():
            now = runtime.current_settings()
            assert now.ignore_hosts == ("a.example", "b.example")
            assert now.ignore == ("user", "metadata[0]")
            assert (now.sealed_ports, now.timeout) == ((5432, 6379), 7)

        def test_huey(aquila_huey, aquila_use_test_queue):
            import app
            assert aquila_huey is app.huey
        """,
    )
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("-W", "error")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(("file", "table"), TABLES)
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("aquila_log_content = true", "aquila_log_content 'True': must be one of off, on ("),
        ("aquila_guard = ['all', 'off']", r"aquila_guard 'all\noff': must be one of"),
    ],
)
def test_a_value_of_another_form_is_told_with_the_file_and_what_the_key_takes(
    pytester: pytest.Pytester, file: str, table: str, line: str, told: str
) -> None:
    pytester.path.joinpath(file).write_text(f"{table}\n{line}\n")
    result = pytester.runpytest_inprocess("-W", "error")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {file}: {told}" in result.stderr.str()


@pytest.mark.parametrize(("file", "table"), TABLES)
@pytest.mark.parametrize("value", ['"test_it.py::* * *"', "['test_it.py::* * *']"])
def test_toml_gives_allowed_findings_as_a_list_or_as_one_text(
    pytester: pytest.Pytester, file: str, table: str, value: str
) -> None:
    pytester.path.joinpath(file).write_text(f"{table}\naquila_faults_allowed = {value}\n")
    pytester.makepyfile(test_it="def test_it(): pass")
    pytester.runpytest_inprocess("-W", "error", "--aquila-faults").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("file", "table"), [("pytest.ini", "[pytest]"), ("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]"), *TABLES]
)
def test_a_setting_that_advice_names_works_as_it_is_typed_in_the_file_that_it_names(
    pytester: pytest.Pytester, file: str, table: str
) -> None:
    settings = pytester.path / file
    settings.write_text(f"{table}\n")
    pytester.makepyfile(
        **{"myapp/__init__": "", "myapp/tasks": APP},
        test_it="""
        def test_fixture(aquila_build_task): pass
        def test_short_name(build_task): pass
        """,
    )
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=2)
    advice = re.findall(r"`(aquila_huey = \S+)` in (\S+),", result.stdout.str())
    assert len(set(advice)) == 1, result.stdout.str()
    line, place = advice[0]
    assert place == file
    settings.write_text(f"{table}\n{line}\n")
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(("file", "table", "line"), [
    ("setup.cfg", "[tool:pytest]", "pythonpath = ."),
    ("pyproject.toml", "[tool.pytest.ini_options]", 'pythonpath = ["."]'),
])  # fmt: skip
def test_where_a_huey_is_not_found_the_advice_works_too(
    pytester: pytest.Pytester, file: str, table: str, line: str
) -> None:
    settings = pytester.path / file
    quote = '"' if file.endswith(".toml") else ""
    text = f"{table}\naquila_huey = {quote}away_app:huey{quote}\n"
    settings.write_text(text)
    pytester.makepyfile(away_app=APP, **{"tests/test_it": "def test_it(build_task): pass"})
    result = pytester.runpytest_inprocess("--import-mode=importlib")
    assert f"as with {line} in {file}" in result.stdout.str() + result.stderr.str()
    settings.write_text(f"{text}{line}\n")
    pytester.runpytest_inprocess("--import-mode=importlib").assert_outcomes(passed=1)
