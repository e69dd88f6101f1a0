"""A miss or a refusal is an outcome of the test that asked: clients and code that catches errors cannot hide it."""

from __future__ import annotations

import concurrent.futures.process  # noqa: F401 - loaded here, so that runs within this process do not load it anew
import copy
import pickle
import textwrap
from collections.abc import Iterable, Set

import pytest

import tests.support.preloaded  # noqa: F401
from aquila.errors import AquilaError, CassetteError, CassetteMiss, LiveCallRefused, PlayedOut, UnansweredRequest
from pytest_aquila.outcomes import make_outcome
from tests.plugin.conftest import RUNS_TESTS_AGAIN, Project

RETRYING = """
    import time

    class ConnectionFailed(Exception):
        pass

    def ask(prompt="hi"):
        "A client that tries again after any exception, and makes one of its own of the last."
        for attempt in range(3):
            try:
                return post(prompt)
            except Exception as error:
                last = error
        raise ConnectionFailed("Connection error.") from last
    """

HARMLESS = """
    def test_next(aquila_cassette):
        assert aquila_cassette.misses == ()
    """


def test_a_miss_that_the_teardown_of_a_fixture_swallows_fails_its_test_and_no_other(project: Project) -> None:
    tests = """
        @pytest.fixture
        def tidied():
            yield
            try:
                post("goodbye")
            except BaseException:
                pass

        def test_it(aquila_cassette, tidied):
            pass

        def test_next(aquila_cassette):
            pass
        """
    result = project.run(tests=tests)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*  pytest test_app.py::test_it --aquila-record", "ERROR *::test_it - CassetteMiss: *"]
    )


def test_what_a_test_misses_that_is_expected_to_fail_is_shown_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "1")  # there pytest does not cut the lines of its summary
    tests = """
        def ask():
            try:
                post("hi")
            except BaseException:
                pass
            raise ValueError("no answer")

        @pytest.fixture
        def asked(aquila_cassette):
            ask()

        @pytest.mark.xfail
        def test_setup(asked): pass

        @pytest.mark.xfail
        def test_call(aquila_cassette): ask()
        """
    result = project.run(tests=tests)
    result.assert_outcomes(errors=1, failed=1)
    assert result.stdout.str().count("  requested  POST https://provider.example/v1/x") == 2


@pytest.mark.parametrize("public", [CassetteMiss, PlayedOut, LiveCallRefused])
def test_an_error_and_its_outcome_are_caught_by_the_public_class_and_can_be_pickled(
    public: type[UnansweredRequest],
) -> None:
    ordinary = public("what happened\n\nmore", difference="a: 1", group="g")
    outcome = make_outcome(ordinary)
    assert isinstance(ordinary, AquilaError)
    assert isinstance(ordinary, CassetteError) == issubclass(public, CassetteMiss)
    assert isinstance(outcome, pytest.fail.Exception)
    assert not isinstance(outcome, Exception)
    for error in (ordinary, outcome):
        assert isinstance(error, public)
        assert error.sentence == "what happened"
        # Django's parallel runner and others send the class of an error, too.
        kind, sent = pickle.loads(pickle.dumps((type(error), error)))
        assert kind is type(ordinary)
        for again in (sent, copy.copy(error)):
            assert type(again) is type(ordinary)
            assert (str(again), again.difference, again.group) == (str(ordinary), "a: 1", "g")


def test_a_subclass_of_a_public_class_is_an_exception_too() -> None:
    class Own(CassetteMiss):
        pass

    assert isinstance(Own("x"), CassetteError)


class OwnKind(type(CassetteMiss("x"))):  # type: ignore[misc] # a class that only the call returns
    pass


def test_a_subclass_of_what_the_call_returns_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(OwnKind)) is OwnKind


def test_a_client_that_retries_lets_a_miss_and_a_refusal_through_at_once(project: Project) -> None:
    result = project.run(
        tests=RETRYING
        + """
    def test_miss(aquila_cassette):
        ask()

    def test_refusal():
        import httpx2
        try:
            httpx2.get("https://api.openai.com/v1/models")
        except Exception:
            pass

    def test_known_by_name(aquila_cassette, aquila_refusals):
        with pytest.raises(aquila.errors.CassetteMiss):
            ask()
        assert len(aquila_cassette.misses) == 1
        aquila_cassette.forget_misses()
        with pytest.raises(aquila.errors.LiveCallRefused):
            import socket
            socket.getaddrinfo("api.openai.com", 443, type=socket.SOCK_DGRAM)
        aquila_refusals.forget()
    """
        + HARMLESS
    )
    result.assert_outcomes(failed=2, passed=2)
    result.stdout.fnmatch_lines(
        [
            "E  *CassetteMiss: nothing is recorded yet in cassettes*",
            "FAILED *::test_miss - CassetteMiss: nothing is recorded*",
            "FAILED *::test_refusal - LiveCallRefused: GET https://api.openai*",
        ]
    )
    result.stdout.no_fnmatch_line("*Connection error*")
    result.stdout.fnmatch_lines(["*1 missed*"])


ODD_ERRORS = """
    import asyncio, dataclasses, httpx2, pickle
    from concurrent.futures import ThreadPoolExecutor

    @dataclasses.dataclass
    class WithoutHash(Exception):  # as dataclasses are that compare their fields
        message: str

    def test_error_without_a_hash(aquila_cassette):
        try:
            post("hi")
        except BaseException as error:
            raise WithoutHash("no answer") from error

    def combine(cause):
        class TaskError(type(cause)):
            def __init__(self, cause):
                self.cause = cause

            def __str__(self):
                return f"the task failed: {self.cause}"

        return TaskError(cause)

    def test_class_of_a_miss(aquila_cassette):  # ray makes one for what a task has raised in a worker
        try:
            post("hi")
        except BaseException as error:
            miss = pickle.loads(pickle.dumps(error))  # as it comes from a worker
        raise combine(miss)

    class WithoutText(Exception):
        def __str__(self):
            return None

    def test_text_without_a_miss():
        raise WithoutText

    def test_text_after_a_miss(aquila_cassette):
        try:
            post("hi")
        except BaseException:
            pass
        raise WithoutText

    def test_swallowed_refusal():
        try:
            httpx2.get("https://api.openai.com/v1/models")
        except BaseException:
            pass

    def test_gathered(aquila_cassette):
        async def go():
            async with aquila.async_http_client() as http:
                await asyncio.gather(http.get("https://provider.example/v1/x"), return_exceptions=True)
        asyncio.run(go())

    def apply_target(target, callback):
        try:
            target()
        except Exception as error:
            callback(error)
    apply_target.__module__ = "celery.concurrency.base"

    def test_pool_of_celery(aquila_cassette):  # it tells who waits for the task
        told = []
        with ThreadPoolExecutor(1) as pool:
            pool.submit(apply_target, lambda: post("hi"), told.append)
        assert told

    def test_failed_assertion(aquila_cassette):
        try:
            post("hi")
        except BaseException:
            assert False, "the service is down"
"""
FAILED_AS = {
    "error_without_a_hash": "CassetteMiss: *",
    "class_of_a_miss": "CassetteMiss: the task failed: nothing is recorded yet *",
    "text_without_a_miss": "*WithoutText*",
    "text_after_a_miss": "*WithoutText*",
    "swallowed_refusal": "LiveCallRefused: *",
    "gathered": "CassetteMiss: *",
    "pool_of_celery": "CassetteMiss: nothing is recorded*",
    "failed_assertion": "AssertionError: the service is down*",
}
"""The errors of the tests above: whoever swallows a miss or takes its place, it is told, and fails only its test."""


def test_a_miss_that_is_swallowed_or_replaced_fails_its_test_and_no_other(project: Project) -> None:
    result = project.run("-p", "no:randomly", tests=ODD_ERRORS + HARMLESS)
    result.assert_outcomes(failed=len(FAILED_AS), passed=1)
    result.stdout.fnmatch_lines([f"FAILED *::test_{name} - {error}" for name, error in FAILED_AS.items()])
    for name in ("text_after_a_miss", "failed_assertion"):
        shown = result.stdout.str().partition(f"_ test_{name} _")[2].partition("\n____")[0]
        assert "nothing is recorded yet in cassettes" in shown


PLACES = {
    "gather": """
        async def go():
            await asyncio.gather(aask(), aask())
        asyncio.run(go())
    """,
    "asyncio.TaskGroup": """
        async def go():
            async with asyncio.TaskGroup() as group:
                group.create_task(aask())
                group.create_task(aask())
        asyncio.run(go())
    """,
    "anyio task group": """
        async def go():
            async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
                group.start_soon(aask)
        anyio.run(go)
    """,
    "anyio task group, behind the start": """
        async def serve(*, task_status):
            task_status.started()
            await aask()
        async def go():
            async with anyio.create_task_group() as group:
                await group.start(serve)
        anyio.run(go)
    """,
    "trio": """
        async def go():
            async with anyio.create_task_group() as group:
                group.start_soon(aask)
        anyio.run(go, backend="trio")
    """,
    "asyncio.to_thread": "asyncio.run(asyncio.to_thread(ask))",
    "ThreadPoolExecutor": """
        with ThreadPoolExecutor(1) as pool:
            assert isinstance(pool.submit(ask).exception(), CassetteMiss)
            assert isinstance(pool.submit(ask).exception(), Exception)
            pool.submit(ask).result()
    """,
    "ProcessPoolExecutor": """
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            try:
                pool.submit(post, "hi").result()
            finally:
                assert pool.submit(len, "ab").result() == 2
    """,
    "portal of a test client": """
        async def app(scope, receive, send):
            ask()
        from starlette.testclient import TestClient
        with TestClient(app) as client:
            client.get("/")
    """,
}
"""Where a miss happens, by the name of the place."""

SEVERAL_MISSES = {"gather", "asyncio.TaskGroup", "ThreadPoolExecutor", "ProcessPoolExecutor"}

ASK_ASYNC = """
    import asyncio, multiprocessing
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    import anyio
    from aquila.errors import CassetteMiss

    async def aask(prompt="hi"):
        for attempt in range(3):
            try:
                async with aquila.async_http_client() as http:
                    return await http.post("https://provider.example/v1/x", json={"prompt": prompt})
            except Exception as error:
                last = error
        raise ConnectionFailed("Connection error.") from last
    """


def make_module(bodies: Iterable[str]) -> str:
    """A test for each body, with a test behind it that the miss must not harm."""
    tests = ""
    for number, body in enumerate(bodies):
        code = textwrap.indent(textwrap.dedent(body).strip(), " " * 8)
        tests += f"\n    def test_{number}(aquila_cassette):\n{code}\n" + HARMLESS.replace("next", f"next_{number}")
    return tests


# What one client asked three times in a thread is one miss. Another process counts its own.
@pytest.mark.parametrize(
    "names",
    [PLACES.keys() - SEVERAL_MISSES, SEVERAL_MISSES],
    ids=["one miss", "several misses"],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_miss_is_the_error_of_the_test_in_whatever_task_or_thread_it_happened(
    names: Set[str], project: Project
) -> None:
    result = project.run(
        "-p", "no:randomly", tests=RETRYING + ASK_ASYNC + make_module(PLACES[name] for name in sorted(names))
    )
    result.assert_outcomes(failed=len(names), passed=len(names))
    result.stdout.fnmatch_lines(
        [f"FAILED *::test_{number} - CassetteMiss: nothing is recorded*" for number in range(len(names))]
    )
    output = result.stdout.str()
    assert "ConnectionFailed" not in output.replace("raise ConnectionFailed", "").replace("class ConnectionFailed", "")
    assert output.count("To record it:") == len(names)
    if names != SEVERAL_MISSES:
        result.stdout.fnmatch_lines([f"aquila: * {len(names)} missed*"])


def test_a_refusal_of_an_earlier_attempt_does_not_fail_the_next_one(project: Project) -> None:
    project.pytester.makeconftest(RUNS_TESTS_AGAIN)
    tests = """
        import httpx2
        tried = []

        def test_it():
            tried.append(1)
            if len(tried) == 1:
                with pytest.raises(BaseException):
                    httpx2.get("https://api.openai.com/v1/models")
        """
    assert project.run(tests=tests).parseoutcomes() == {"passed": 1, "rerun": 1}


def test_a_miss_of_each_attempt_is_shown_once(project: Project) -> None:
    project.pytester.makeconftest(RUNS_TESTS_AGAIN)
    tests = """
        def test_it(aquila_cassette):
            try:
                post("hi")
            except BaseException:
                assert False, "the service is down"
        """
    result = project.run(tests=tests)
    assert result.parseoutcomes() == {"failed": 1, "rerun": 1}
    assert result.stdout.str().count("Captured aquila call") == 1


def test_requests_of_a_test_that_miss_by_the_same_change_are_shown_once(project: Project) -> None:
    tests = """
        def test_it(aquila_cassette):
            answers = []
            for question in "Be brief. In Rome?", "Be brief. In Oslo?", "Be brief. Where?", "And who are you?":
                with contextlib.suppress(BaseException):
                    answers.append(post(question))
            assert len(answers) == 4
        """
    project.record(tests=f"import contextlib\n{textwrap.dedent(tests)}").assert_outcomes(passed=1)
    changed = tests.replace("brief", "kind").replace("who", "what")
    shown = project.run(tests=f"import contextlib\n{textwrap.dedent(changed)}").stdout.str()
    assert shown.count("Captured aquila call") == 3
    assert [part in shown for part in ("now 'Be kind. In Rome?'", "In Oslo?'", "what are you?'")] == [1, 0, 1]
    assert "2 more requests of this test miss by a change that is shown above." in shown


def test_a_miss_that_was_taken_for_an_answer_is_the_error(project: Project) -> None:
    """As langchain does with what `asyncio.gather` returns."""
    result = project.run(
        tests="""
        import asyncio, httpx2

        async def ask():
            async with httpx2.AsyncClient() as http:
                asking = http.get("https://provider.example/v1/x")
                [answer] = await asyncio.gather(asking, return_exceptions=True)
                return answer

        def test_attribute(aquila_cassette):
            asyncio.run(ask()).status_code

        def test_item(aquila_cassette):
            asyncio.run(ask())["text"]

        def test_operator(aquila_cassette):
            asyncio.run(ask()) + ""
        """
    )
    result.assert_outcomes(failed=3)
    uses = ("attribute", "item", "operator")
    result.stdout.fnmatch_lines([f"FAILED *::test_{use} - CassetteMiss: *" for use in uses])


WAITING = {
    "queue": """
        queue = asyncio.Queue()
        queue.put_nowait("hi")
        async def work():
            while True:
                prompt = await queue.get()
                try:
                    await aask(prompt)
                except Exception:
                    failures.append(prompt)
                queue.task_done()
        task = asyncio.create_task(work())
        await asyncio.wait_for(queue.join(), 60)
        task.cancel()
    """,
    "future": """
        future = asyncio.get_running_loop().create_future()
        async def work():
            try:
                future.set_result(await aask("hi"))
            except Exception as error:
                failures.append(error)
                future.set_exception(error)
        tasks = {asyncio.create_task(work())}
        next(iter(tasks)).add_done_callback(tasks.discard)
        await asyncio.wait_for(future, 60)
    """,
    **{
        f"queue, {way}": f"""
        queue = asyncio.Queue()
        async def work():
            try:
                {awaits}
            except Exception as error:
                failures.append(error)
                queue.put_nowait("failed")
        task = asyncio.create_task(work())
        task.add_done_callback(lambda _: queue.put_nowait("ended"))
        assert await queue.get() == "failed"
    """
        for way, awaits in {
            "task": "await asyncio.create_task(aask('hi'))",
            "gather": "await asyncio.gather(aask('hi'), asyncio.sleep(0))",
            "wait": "[done], _ = await asyncio.wait([asyncio.create_task(aask('hi'))]); done.result()",
            "wait_for": "await asyncio.wait_for(aask('hi'), 60)",
            "shield": "await asyncio.shield(aask('hi'))",
            "a task of a task": "await asyncio.create_task(asyncio.wait_for(asyncio.gather(aask('hi')), 60))",
        }.items()
    },
}
"""Code that waits for a task in the background, by what it waits for. ``failures`` has what the task has met."""


def test_code_that_waits_for_a_background_task_gets_its_miss(project: Project) -> None:
    ask = """
    import asyncio

    async def aask(prompt):
        async with aquila.async_http_client() as http:
            return await http.post("https://provider.example/v1/x", json={"prompt": prompt})

    def run(go, failures):
        try:
            asyncio.run(go())
        finally:
            assert failures  # nobody was left waiting
    """
    bodies = []
    for body in WAITING.values():
        waiting = textwrap.indent(textwrap.dedent(body).strip(), " " * 4)
        bodies.append(f"failures = []\nasync def go():\n{waiting}\nrun(go, failures)")
    result = project.run("-p", "no:randomly", tests=ask + make_module(bodies))
    result.assert_outcomes(failed=len(bodies), passed=len(bodies))
    result.stdout.fnmatch_lines(
        [f"FAILED *::test_{number} - CassetteMiss: nothing is recorded*" for number in range(len(bodies))]
    )


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.slow
def test_what_a_child_process_swallowed_fails_the_test(project: Project) -> None:
    result = project.run(
        tests="""
        import os, subprocess, sys

        def swallow():
            for attempt in range(2):
                try:
                    post("hi")
                except Exception:
                    pass

        def test_forked(aquila_cassette):
            child = os.fork()
            if not child:
                swallow()
                os._exit(0)
            os.waitpid(child, 0)

        def test_started(aquila_cassette):
            with aquila.use_cassette("of a block"):
                subprocess.run([sys.executable, "-c", "import test_app; test_app.swallow()"], check=True)

        def test_expected(aquila_cassette):
            subprocess.run([sys.executable, "-c", "import test_app; test_app.swallow()"], check=True)
            assert len(aquila_cassette.misses) == 1
            aquila_cassette.forget_misses()
        """
        + HARMLESS.replace("    def", "        def").replace("        assert", "            assert")
    )
    result.assert_outcomes(failed=2, passed=2)
    for name in ("forked", "started"):
        result.stdout.fnmatch_lines(
            [f"*  pytest test_app.py::test_{name} --aquila-record", f"FAILED *::test_{name} - CassetteMiss: nothing*"],
        )
    result.stdout.fnmatch_lines(["aquila: * 2 missed*"])


def test_a_miss_in_a_fixture_harms_no_other_test(project: Project) -> None:
    result = project.run(
        tests="""
        @pytest.fixture
        def asking(aquila_cassette):
            yield
            post("bye")

        @pytest.fixture(scope="module")
        def shared():
            return post("shared")

        def test_one(asking): pass
        def test_two(aquila_cassette, shared): pass
        def test_three(aquila_cassette, shared): pass
        def test_four(aquila_cassette): pass
        """
    )
    result.assert_outcomes(passed=2, errors=3)
    for name in ("one", "two", "three"):
        result.stdout.fnmatch_lines([f"ERROR *::test_{name} - CassetteMiss: nothing is recorded*"])


def test_the_last_line_is_one_sentence_where_pytest_does_not_cut(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = "def test_it(aquila_cassette):\n    post('one')\n"
    project.record(tests=test)
    monkeypatch.setenv("CI", "1")
    lines = project.run(tests=test.replace("one", "two")).outlines
    file = "cassettes/test_app/test_it.yaml"
    assert f"FAILED test_app.py::test_it - CassetteMiss: prompt differs from recording 1 of {file}" in lines
    start = next(n for n, line in enumerate(lines) if "short test summary" in line)
    assert sum("CassetteMiss" in line for line in lines[start:]) == 1


def test_only_the_frames_of_the_project_are_shown(project: Project) -> None:
    output = project.run(tests=RETRYING + "\n    def test_it(aquila_cassette):\n        ask()\n").stdout.str()
    places = [line for line in output.splitlines() if ".py:" in line and "rootdir" not in line and "::" not in line]
    assert [place.partition(":")[0] for place in places] == ["test_app.py", "test_app.py", "app.py"]
    assert "/httpx2/" not in output.partition("FAILURES")[2]


def test_a_unittest_fails_with_the_miss_even_behind_another_error_and_the_next_one_does_not(project: Project) -> None:
    classes = [
        f"""
        class Test{base}(unittest.{base}):
            @pytest.fixture(autouse=True)
            def cassette(self, aquila_cassette):
                pass

            {call} test_asks(self):
                try:
                    post("hi")
                except Exception:
                    pass

            {call} test_wraps(self):
                try:
                    post("hi")
                except BaseException as error:
                    raise ValueError("no answer") from error

            {call} test_next(self):
                pass
        """
        for base, call in (("TestCase", "def"), ("IsolatedAsyncioTestCase", "async def"))
    ]
    result = project.run(tests="\n        import unittest\n" + "".join(classes))
    result.assert_outcomes(failed=4, passed=2)
    for name in ("asks", "wraps"):
        result.stdout.fnmatch_lines([f"FAILED *::test_{name} - CassetteMiss: nothing is recorded*"] * 2)
    # Lines of the error alone: in its debug mode asyncio logs a slow task, with its exception.
    lines = [line for line in result.outlines if line.startswith("E ") and line.endswith("To record it:")]
    assert len(lines) == 4


def test_in_a_thread_of_the_application_a_miss_is_an_exception(project: Project) -> None:
    project.run(
        tests="""
        import threading

        def test_it(aquila_cassette):
            caught = []

            def work():
                try:
                    post("hi")
                except Exception as error:
                    caught.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert isinstance(caught[0], aquila.errors.CassetteMiss)
            aquila_cassette.forget_misses()
        """
    ).assert_outcomes(passed=1)


TASKS = (
    RETRYING
    + """
    import huey as plain
    from aquila.huey import MemoryHuey, MsgpackSerializer, instrument

    mixed_in, instrumented = MemoryHuey("one"), instrument(plain.MemoryHuey("two", serializer=MsgpackSerializer()))

    @pytest.fixture(params=[mixed_in, instrumented], ids=["mixed in", "instrumented"])
    def aquila_huey(request):
        return request.param

    @pytest.fixture
    def job(aquila_huey):
        @aquila_huey.task()
        def asking():
            return ask()
        yield asking
        asking.unregister()
    """
)


def test_a_worker_survives_the_miss_of_a_task(project: Project) -> None:
    result = project.run(
        tests=TASKS
        + """
    def test_performed(perform_job, aquila_cassette, job):
        perform_job(job)

    def test_worker(use_test_queue, run_consumer, aquila_cassette, aquila_huey, job):
        with pytest.raises(aquila.errors.CassetteMiss), run_consumer() as consumer:
            for result in (job(), job()):
                with pytest.raises(aquila.errors.RemoteTaskError, match="CassetteMiss"):
                    consumer.wait(result)
        aquila_cassette.forget_misses()
    """
        + HARMLESS
    )
    result.assert_outcomes(failed=2, passed=3)
    result.stdout.fnmatch_lines(["FAILED *::test_performed* - CassetteMiss: *"])
    result.stdout.no_fnmatch_line("*ConnectionFailed*")
