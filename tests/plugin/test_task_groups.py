"""A test or a fixture whose task group missed its cassette fails alone: the tests after it go on."""

from __future__ import annotations

import re
import textwrap

import pytest

from aquila.errors import CassetteMiss
from aquila.recording.miss_outcomes import ordinary_form
from pytest_aquila.outcomes import make_outcome
from tests.plugin.conftest import Project

WITH_ANYIO = ("-p", "anyio.pytest_plugin")
ASKING = """
import asyncio, anyio, httpx2

QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}

async def aask(prompt):
    async with aquila.async_http_client() as http:
        return (await http.post("https://provider.example/v1/x", json={"prompt": prompt})).json()

async def ask_live():
    async with httpx2.AsyncClient() as http:
        await http.get("https://api.openai.com/v1/models")

async def fail_when_cancelled():
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("while it was cancelled")

async def ask_both():
    async with anyio.create_task_group() as group:
        group.start_soon(aask, "one")
        group.start_soon(aask, "two")

async def ask_both_of_asyncio():
    async with asyncio.TaskGroup() as group:
        group.create_task(aask("one"))
        group.create_task(aask("two"))
"""
ONE_LOOP = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module", params=["asyncio"])
def anyio_backend(request):
    return request.param

@pytest.fixture(scope="module", autouse=True)
async def one_loop(anyio_backend):  # until its end anyio runs all tests and async fixtures in one task
    yield

async def test_before():
    pass
"""
AFTER = """
async def test_after():
    pass

async def test_answered(aquila_script):
    aquila_script.reply("Hello.")
    async with httpx2.AsyncClient() as http:
        answer = await http.post("https://api.openai.com/v1/chat/completions", json=QUESTION)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
"""


@pytest.mark.parametrize(
    ("test", "shown"),
    [
        pytest.param("async def test_it(aquila_cassette): await ask_both()", "CassetteMiss: nothing *", id="anyio"),
        pytest.param(
            "async def test_it(aquila_cassette): await ask_both_of_asyncio()", "CassetteMiss: nothing *", id="asyncio"
        ),
        pytest.param(
            """
            async def test_it(aquila_cassette):
                async with anyio.create_task_group(), anyio.create_task_group() as group:
                    group.start_soon(aask, "one")
            """,
            "CassetteMiss: nothing *",
            id="nested",
        ),
        pytest.param(
            """
            class TestIt:
                async def test_it(self, aquila_cassette):
                    assert type(self) is TestIt
                    await ask_both()
            """,
            "CassetteMiss: nothing *",
            id="method",
        ),
        pytest.param(
            """
            async def test_it():
                async with anyio.create_task_group() as group:
                    group.start_soon(ask_live)
            """,
            "LiveCallRefused: GET *",
            id="refusal",
        ),
        pytest.param("async def test_it(aquila_script): await ask_both()", "UnscriptedRequest: no *", id="script"),
        pytest.param(
            """
            async def test_it(aquila_cassette):
                async with anyio.create_task_group() as group:
                    group.start_soon(fail_when_cancelled)
                    group.start_soon(aask, "one")
            """,
            "CassetteMiss: nothing *",
            id="beside another error",
        ),
        pytest.param(
            """
            async def fail_an_assertion():
                assert 1 == 2

            async def test_it(aquila_cassette):
                async with anyio.create_task_group() as group:
                    group.start_soon(fail_an_assertion)
                    group.start_soon(aask, "one")
            """,
            "ExceptionGroup: *",
            id="beside a failed assertion",
        ),
        pytest.param(
            """
            from hypothesis import given, settings, strategies

            @settings(max_examples=1, database=None, deadline=None)
            @given(strategies.none())
            async def test_it(value):
                async with anyio.create_task_group() as group:
                    group.start_soon(ask_live)
            """,
            "LiveCallRefused: GET *",
            id="hypothesis",
        ),
    ],
)
def test_a_group_of_misses_fails_only_its_own_test(test: str, shown: str, project: Project) -> None:
    result = project.run(*WITH_ANYIO, tests=ASKING + ONE_LOOP + textwrap.dedent(test) + AFTER)
    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines([f"FAILED *test_it* - {shown}"])


@pytest.mark.parametrize("ask", ["ask_beside_failures()", "raise_another_error()"])
def test_a_miss_is_shown_with_the_errors_beside_it(ask: str, project: Project) -> None:
    result = project.run(
        tests=ASKING
        + f"""
async def ask_beside_failures():
    async with anyio.create_task_group() as group:
        group.start_soon(fail_when_cancelled)
        group.start_soon(ask_both)

def test_it(aquila_cassette):
    asyncio.run({ask})

async def raise_another_error():
    try:
        await ask_beside_failures()
    except BaseExceptionGroup as group:
        raise RuntimeError("as of a client") from group
"""
    )
    result.stdout.fnmatch_lines([f"test_app.py:*: in {ask[:-2]}", "E   *ValueError: while it was cancelled"])
    result.stdout.no_fnmatch_line("*_backends*")  # no frame of a library is shown


def test_so_does_a_group_of_misses_in_trio(project: Project) -> None:
    test = "async def test_it(aquila_cassette): await ask_both()"
    result = project.run(*WITH_ANYIO, tests=ASKING + ONE_LOOP.replace('"asyncio"', '"trio"') + test + AFTER)
    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(["FAILED *test_it* - CassetteMiss: nothing *"])


def test_every_test_of_a_shared_async_fixture_shows_its_misses(project: Project) -> None:
    result = project.run(
        *WITH_ANYIO,
        tests=ASKING
        + ONE_LOOP
        + """
@pytest.fixture(scope="module")
async def shared(anyio_backend):
    await ask_both()

async def test_one(shared):
    pass

async def test_two(shared):
    pass
"""
        + AFTER,
    )
    result.assert_outcomes(errors=2, passed=3)
    result.stdout.fnmatch_lines([f"ERROR *::test_{name}* - CassetteMiss: nothing *" for name in ("one", "two")])


def test_an_async_fixture_that_misses_in_its_teardown_lets_the_others_be_torn_down(project: Project) -> None:
    result = project.run(
        "-s",
        *WITH_ANYIO,
        tests=ASKING
        + ONE_LOOP
        + """
class TestTornDown:
    @pytest.fixture
    async def first(self, anyio_backend):
        self.number = 1
        yield
        print("first is torn down,", self.number)

    @pytest.fixture
    async def second(self, first):
        yield
        await ask_both()

    async def test_it(self, second):
        assert self.number == 1
"""
        + AFTER,
    )
    result.assert_outcomes(errors=1, passed=4)
    result.stdout.fnmatch_lines(["*first is torn down, 1", "ERROR *::test_it* - CassetteMiss: nothing *"])


def test_every_test_of_a_shared_plain_fixture_shows_its_misses(project: Project) -> None:
    result = project.run(
        *WITH_ANYIO,
        tests=ASKING
        + """
@pytest.fixture(scope="module")
def shared():
    asyncio.run(ask_both())

def test_one(shared):
    pass

def test_two(shared):
    pass

def test_after():
    pass
""",
    )
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines([f"ERROR *::test_{name} - CassetteMiss: nothing *" for name in ("one", "two")])


def test_its_report_is_that_of_a_test_that_runs_a_loop_itself(project: Project) -> None:
    asking = """
async def ask_one():
    async with anyio.create_task_group() as group:
        group.start_soon(aask, "one")
"""
    reports = []
    for head, body in (
        (ONE_LOOP, "async def test_it(aquila_cassette): await ask_one()"),
        ("", "def test_it(aquila_cassette): asyncio.run(ask_one())"),
    ):
        output = project.run(*WITH_ANYIO, tests=ASKING + asking + head + body).stdout.str()
        failure = output[: output.index("FAILED test_app.py")].splitlines()
        # Without the lines that name the test, whose id has the backend, and the numbers of lines.
        shown = [line for line in failure if line.startswith(("E ", "test_app.py:")) and "::" not in line]
        reports.append([re.sub(r":\d+|-asyncio", "", line) for line in shown])
    of_anyio, own = reports
    assert of_anyio == own
    assert own[-1] == "test_app.py: CassetteMiss"
    assert "test_app.py: in ask_one" in own


def test_code_under_test_still_gets_the_outcomes(project: Project) -> None:
    result = project.run(
        *WITH_ANYIO,
        tests=ASKING
        + ONE_LOOP
        + """
async def test_it(aquila_cassette):
    try:
        await ask_both()
    except Exception:
        print("swallowed")
    except BaseExceptionGroup as group:
        print("caught", *{type(each).__mro__[1].__name__ for each in group.exceptions})
        raise
""",
    )
    result.stdout.fnmatch_lines(["caught CassetteMiss"])
    result.stdout.no_fnmatch_line("swallowed")
    result.assert_outcomes(failed=1, passed=1)


def test_the_ordinary_form_of_a_group_keeps_what_its_errors_tell() -> None:
    miss, cause = make_outcome(CassetteMiss("missed", difference="a field")), KeyError("cause")
    miss.add_note("a note")
    miss.__cause__ = cause
    try:
        raise BaseExceptionGroup("inner", [miss])
    except BaseExceptionGroup as raised:
        inner = raised
    other = ValueError("other")
    outer = BaseExceptionGroup("outer", [inner, other])

    made = ordinary_form(outer)

    assert isinstance(made, ExceptionGroup)
    assert made.exceptions[1] is other
    [of_inner] = made.exceptions[:1]
    assert isinstance(of_inner, ExceptionGroup)
    assert of_inner.__traceback__ is inner.__traceback__
    [ordinary] = of_inner.exceptions
    assert isinstance(ordinary, CassetteMiss)
    assert (str(ordinary), ordinary.difference) == ("missed", "a field")
    assert (ordinary.__notes__, ordinary.__cause__) == (["a note"], cause)


def test_a_group_without_outcomes_is_its_own_ordinary_form() -> None:
    interrupted = BaseExceptionGroup("interrupted", [KeyboardInterrupt(), ValueError()])
    assert ordinary_form(interrupted) is interrupted
