"""What the guard refuses a child process fails the test that has started it, whatever the child makes of it."""

from __future__ import annotations

import os
import re
import tempfile
import textwrap

import pytest

from tests.support.slow import slow_but
from tests.support.upstream import Upstream

ASKING = """
import urllib.request

def ask():
    try:
        urllib.request.urlopen("https://api.openai.com/v1/chat/completions", data=b"{}")
    except BaseException:
        pass

if __name__ == "__main__":
    ask()
"""
TESTS = """
import multiprocessing, os, shlex, subprocess, sys
import asking

COMMAND = shlex.join([sys.executable, "asking.py"])

ENVIRONMENT = dict(os.environ)

def start(way):
    match way:
        case "os.fork":
            child = os.fork()
            if not child:
                asking.ask()
                os._exit(0)
            os.waitpid(child, 0)
        case "subprocess":
            subprocess.run([sys.executable, "asking.py"], check=True)
        case "environment of the module":
            subprocess.run([sys.executable, "asking.py"], check=True, env=ENVIRONMENT)
        case "os.system":
            os.system(COMMAND)
        case "os.spawnv":
            os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "asking.py"])
        case "os.posix_spawn" | "os.posix_spawnp":
            spawn = getattr(os, way.removeprefix("os."))
            os.waitpid(spawn(sys.executable, [sys.executable, "asking.py"], os.environ), 0)
        case method:
            child = multiprocessing.get_context(method).Process(target=asking.ask)
            child.start()
            child.join()
            assert child.exitcode == 0
"""
PLAIN = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "-W", "ignore::DeprecationWarning")
WAYS = ["os.fork", "subprocess", "environment of the module", "fork", "spawn", "forkserver", "os.system", "os.spawnv"]
WAYS += ["os.posix_spawn", "os.posix_spawnp"]


def run_tests(pytester: pytest.Pytester, tests: str, *options: str, **files: str) -> pytest.RunResult:
    """Run tests that start children which ask a provider."""
    pytester.makepyfile(asking=ASKING, **files)
    (pytester.path / "test_it.py").write_text(TESTS + textwrap.dedent(tests))
    run = pytester.runpytest_subprocess if "pytest_plugins" in tests else pytester.runpytest_inprocess
    return run(*PLAIN, *options)


@pytest.mark.parametrize("way", slow_but(["os.fork"], WAYS))
def test_a_refusal_that_a_child_swallows_fails_its_test_alone(way: str, pytester: pytest.Pytester) -> None:
    tests = f"def test_before(): pass\n\ndef test_it(): start({way!r})\n\ndef test_after(): pass\n"
    result = run_tests(pytester, tests)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*api.openai.com* was refused*", "*::test_it*"])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["subprocess", "os.fork"])
def test_a_refusal_of_a_child_fails_the_test_whose_fixture_has_started_it(way: str, pytester: pytest.Pytester) -> None:
    tests = f"""
        import pytest

        @pytest.fixture
        def at_the_end():
            yield
            start({way!r})

        @pytest.fixture
        def at_the_beginning():
            start({way!r})

        def test_of_a_setup(at_the_beginning): pass

        def test_of_a_teardown(at_the_end): pass
        """
    run_tests(pytester, tests).assert_outcomes(passed=1, failed=1, errors=1)


@pytest.mark.parametrize("way", ["subprocess", "os.fork"])
def test_a_refusal_in_a_phase_of_a_test_that_fails_fails_no_other_test(way: str, pytester: pytest.Pytester) -> None:
    tests = f"""
        import pytest

        @pytest.fixture(scope="module")
        def server():
            start({way!r})
            raise OSError("the server has ended")

        @pytest.fixture
        def asks_at_the_end():
            yield
            start({way!r})

        def test_of_a_setup(server): pass

        def test_of_the_same_setup(server): pass

        def test_after_a_setup(): pass

        def test_of_a_call(asks_at_the_end): assert False, "this has failed by itself"

        def test_after_a_call(): pass

        @pytest.fixture
        def fails_at_the_end():
            yield
            start({way!r})
            raise OSError("this has ended")

        def test_of_a_teardown(fails_at_the_end): pass

        def test_after_a_teardown(): pass
        """
    result = run_tests(pytester, tests)
    result.assert_outcomes(passed=4, failed=1, errors=3)
    for phase, test in (("setup", "setup"), ("teardown", "teardown"), ("teardown", "call")):
        refused = "*api.openai.com* was refused*"
        result.stdout.fnmatch_lines([f"*Captured aquila {phase}*", refused, f"*::test_of_a_{test}"])


def test_children_are_guarded_after_a_test_that_has_cleared_the_environment(pytester: pytest.Pytester) -> None:
    tests = 'def test_that_clears_it(): del os.environ["AQUILA_RUN"]\n\ndef test_it(): start("subprocess")\n'
    result = run_tests(pytester, tests)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_it *"])


ADVISED = """
import subprocess, sys
import pytest

CHILD = '''
import httpx2
print(httpx2.post("{url}/v1/chat/completions", json={"prompt": "hi"}).text)
'''

@pytest.fixture(scope="session")
def answer():
    return subprocess.run([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True).stdout

def test_it(answer):
    assert answer.strip() == "hi"
"""


@pytest.mark.slow
def test_what_a_refusal_advises_for_the_child_of_a_shared_fixture_works_as_typed(
    pytester: pytest.Pytester, echoing: Upstream
) -> None:
    pytester.makeini("[pytest]\naquila_providers = 127.0.0.1\n")
    pytester.makepyfile(test_it=ADVISED.replace("{url}", echoing.url))
    result = pytester.runpytest_inprocess(*PLAIN)
    result.assert_outcomes(failed=1)
    advised = re.search(r"Record it with (--\S+)\.", result.stdout.str())
    assert advised is not None
    for options in ((advised[1],), ()):
        pytester.runpytest_inprocess(*PLAIN, *options).assert_outcomes(passed=1)
    assert len(echoing.requests) == 1


CONFTESTS = ["import asking; asking.ask()", "import aquila\nwith aquila.use_cassette('x'): pass"]


def test_a_refusal_in_the_process_of_the_tests_gives_no_advice_about_children(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(asking=ASKING, test_it="import asking\n\ndef test_it():\n    asking.ask()\n")
    result = pytester.runpytest_inprocess(*PLAIN)
    result.stdout.fnmatch_lines(["*To answer it from a cassette use *"])
    result.stdout.no_fnmatch_line("*child process*")


@pytest.mark.parametrize("conftest", slow_but(CONFTESTS[:1], CONFTESTS))
def test_a_refusal_of_a_child_fails_its_test_though_a_conftest_has_used_aquila(
    conftest: str, pytester: pytest.Pytester
) -> None:
    test = "def test_it(): start('os.fork')\n\ndef test_other(aquila_cassette): start('os.fork')\n"
    run_tests(pytester, test, conftest=conftest).assert_outcomes(failed=2)


@pytest.mark.parametrize("replaced", slow_but(["builtins.open"], ["builtins.open", "os.open", "os.getpid"]))
def test_a_child_may_start_while_a_test_has_replaced_a_function(
    replaced: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(pytester.mkdir("own")))  # where no other run has left anything
    replacing = f"""
        from unittest import mock
        from aquila import temporary_folders

        def test_with_another_function():
            with mock.patch({replaced!r}):
                subprocess.run([sys.executable, "-c", ""], check=True)

        def test_it():
            child = os.fork()
            if not child:
                temporary_folders.remove_left_folders()  # as each other run does at its beginning
                asking.ask()
                os._exit(0)
            os.waitpid(child, 0)
        """
    result = run_tests(pytester, replacing)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_it *"])
    assert os.listdir(tempfile.gettempdir()) == []


def test_a_refusal_of_a_test_that_has_replaced_getpid_is_not_that_of_a_child(pytester: pytest.Pytester) -> None:
    """And not that of a child, for which there would have to be a folder already."""
    tests = """
        from unittest import mock

        def test_with_another_function(aquila_refusals):
            with mock.patch("os.getpid"):
                asking.ask()
            aquila_refusals.forget()

        def test_it(): start("os.fork")
        """
    run_tests(pytester, tests).assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("fixture", ["", "aquila_cassette"], ids=["refusal", "miss"])
def test_what_a_child_is_not_given_fails_its_test_after_a_test_with_pytester(
    fixture: str, pytester: pytest.Pytester
) -> None:
    """Pytester forgets the modules that its test has imported, here those that made the folder for messages."""
    tests = f"""
        pytest_plugins = ["pytester"]

        def test_first(pytester): subprocess.run([sys.executable, "-c", ""])

        def test_it({fixture}): start('os.fork')

        def test_last(): pass
        """
    run_tests(pytester, tests).assert_outcomes(passed=2, failed=1)


@pytest.mark.slow
def test_a_program_with_a_consumer_does_not_hear_what_an_earlier_one_was_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        asking=ASKING,
        consuming="""
        from aquila.huey import MemoryHuey
        from aquila.huey.testing import run_consumer, use_test_queue

        huey = MemoryHuey("app")
        double = huey.task()(lambda number: 2 * number)
        with use_test_queue(huey, storage="own"), run_consumer("thread") as consumer:
            assert consumer.wait(double(2)) == 4
        """,
        test_programs="""
        import subprocess, sys

        def test_refused(aquila_refusals):
            subprocess.run([sys.executable, "asking.py"], check=True)
            aquila_refusals.forget()

        def test_consumer():
            subprocess.run([sys.executable, "consuming.py"], check=True)
        """,
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_with_pyfakefs_the_folder_for_messages_of_children_is_made_at_once(pytester: pytest.Pytester) -> None:
    """In a test with ``fs`` of pyfakefs the folder for what it tells would be a false one, for the rest of the run."""
    pytester.makepyfile(
        pyfakefs="",
        test_folder="""
        import os
        from aquila.recording import runtime

        def test_folder():
            assert os.path.isdir(runtime.current_run().told_by_children.folder)
        """,
    )
    pytester.syspathinsert()
    pytester.runpytest_inprocess("-p", "pyfakefs").assert_outcomes(passed=1)
    pytester.runpytest_inprocess().assert_outcomes(failed=1)


def test_a_test_may_expect_what_a_child_is_refused(pytester: pytest.Pytester) -> None:
    expecting = """
        def test_it(aquila_refusals):
            start("os.fork")
            assert "api.openai.com" in str(aquila_refusals[0]) and "test_it.py::test_it" in str(aquila_refusals[0])
            aquila_refusals.forget()
        """
    result = run_tests(pytester, expecting)
    result.assert_outcomes(passed=1)
    assert result.ret == 0


IN_A_FORK = """
import os
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    out, into = os.pipe()
    child = os.fork()
    if not child:
        reports = runtestprotocol(item, log=False)
        os.write(into, " ".join(f"{report.when}-{report.outcome}" for report in reports).encode())
        os._exit(0)
    os.close(into)
    with open(out) as reader:
        print(item.name, reader.read())
    os.waitpid(child, 0)
    return True
"""


def test_a_refusal_of_a_test_in_a_fork_of_its_own_fails_that_test_alone(pytester: pytest.Pytester) -> None:
    tests = """
        def test_expects(aquila_refusals):
            asking.ask()
            aquila_refusals.forget()

        def test_swallows():
            asking.ask()

        def test_of_a_child():
            start("os.fork")
        """
    result = run_tests(pytester, tests, "-s", conftest=IN_A_FORK)
    result.stdout.fnmatch_lines(
        [
            "*test_expects setup-passed call-passed teardown-passed",
            "*test_swallows setup-passed call-failed teardown-passed",
            "*test_of_a_child setup-passed call-failed teardown-passed",
        ]
    )
    result.stdout.no_fnmatch_line("*outside of any test*")
