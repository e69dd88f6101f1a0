"""Child processes of fixtures that several tests share: they may make the first request, and outlive the setup."""

from __future__ import annotations

import re
import sys

import pytest

from tests.plugin.conftest import Project
from tests.support.report_schema import read_report
from tests.support.slow import slow_but

WAYS = {
    "subprocess": "subprocess.run(PROGRAM, check=True)",
    "environment": 'subprocess.run(PROGRAM, check=True, env={**os.environ, "X": "1"})',
    "fork": 'run_process("fork")',
    "spawn": 'run_process("spawn")',
}
IMPORTS = """
import multiprocessing, os, subprocess, sys

PROGRAM = [sys.executable, "-c", "from app import post; post(1)"]

def run_process(method):
    process = multiprocessing.get_context(method).Process(target=post, args=(1,))
    process.start()
    process.join()
    assert process.exitcode == 0
"""


@pytest.mark.parametrize("scope", slow_but(["session"], ["session", "module"]))
@pytest.mark.parametrize("way", slow_but(["fork"], WAYS))
def test_a_child_may_make_the_first_request_of_a_fixture(project: Project, way: str, scope: str) -> None:
    tests = f"""
{IMPORTS}
@pytest.fixture(scope={scope!r})
def index():
    {WAYS[way]}

def test_one(index): pass
"""
    project.record(tests=tests).assert_outcomes(passed=1)
    assert project.bodies("test_app/@index") == [b'{"prompt":1}']
    project.run().assert_outcomes(passed=1)
    project.record().assert_outcomes(passed=1)
    assert len(project.calls) == 1


SERVER = """
import contextlib, subprocess, sys

PROGRAM = "import sys; from app import post; [print(post(line.strip()), flush=True) for line in sys.stdin]"

@pytest.fixture(scope="session")
def ask():
    server = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(prompt):
        print(prompt, file=server.stdin, flush=True)
        return server.stdout.readline().strip()

    yield ask
    with contextlib.suppress(BrokenPipeError):
        server.stdin.close()
    server.wait()
    server.stdout.close()

def test_one(ask): assert ask("one") == "1"

def test_two(ask): assert ask("two") == "2"

def test_with_a_cassette(ask, aquila_cassette): assert ask("three") == "3"
"""


@pytest.mark.slow  # servers in processes of their own
def test_a_server_may_be_asked_more_often_than_was_recorded(project: Project) -> None:
    # The tests may have been recorded in several workers of pytest-xdist, or one of them may be new.
    project.record("-k", "one", tests=SERVER).assert_outcomes(passed=1, deselected=2)
    asking = re.sub(r'ask\("\w+"\) == "\d"', 'ask("one") == "1"', SERVER)
    project.run(tests=asking).assert_outcomes(passed=3)


@pytest.mark.slow
def test_each_request_of_a_server_is_recorded_however_often_it_is_made(project: Project) -> None:
    asking = re.sub(r'ask\("\w+"\) == ', 'ask("one") == ', SERVER)
    for _ in range(2):
        project.record("-p", "no:randomly", tests=asking).assert_outcomes(passed=3)
        project.run("-p", "no:randomly").assert_outcomes(passed=3)
    assert project.bodies("test_app/@ask") == [b'{"prompt":"one"}'] * 3


SWALLOWING = SERVER.replace("from app import post", "from swallowing import post")
FORKED = """
import multiprocessing, warnings
from swallowing import post

def serve(connection):
    while prompt := connection.recv():
        connection.send(str(post(prompt)))

@pytest.fixture(scope="session")
def ask():
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs,))
        with warnings.catch_warnings():  # newer Pythons warn of a fork beside threads, and name the test
            warnings.simplefilter("ignore", DeprecationWarning)
            server.start()

        def ask(prompt):
            ours.send(prompt)
            return ours.recv()

        yield ask
        ours.send(None)
        server.join()
""" + SWALLOWING.partition("    server.stdout.close()\n")[2]
SERVERS = {"forked": FORKED, "a program": SWALLOWING}


def make_swallowing(project: Project) -> None:
    project.pytester.makepyfile(
        swallowing="""
        import app

        def post(prompt):
            try:
                return app.post(prompt)
            except BaseException:
                return 2
        """
    )


@pytest.mark.parametrize("server", slow_but(["forked"], SERVERS))
def test_a_server_of_a_fixture_answers_tests_without_cassettes(project: Project, server: str) -> None:
    make_swallowing(project)
    project.record("-p", "no:randomly", tests=SERVERS[server]).assert_outcomes(passed=3)
    assert project.bodies("test_app/@ask") == [b'{"prompt":"one"}', b'{"prompt":"two"}', b'{"prompt":"three"}']
    project.run().assert_outcomes(passed=3)
    project.run("-k", "two").assert_outcomes(passed=1)
    assert len(project.calls) == 3


@pytest.mark.parametrize("marker", slow_but([""], ["", "@pytest.mark.aquila\n"]))
@pytest.mark.parametrize("server", slow_but(["forked"], SERVERS))
def test_a_miss_that_a_server_swallows_fails_the_test_that_asked(project: Project, server: str, marker: str) -> None:
    make_swallowing(project)
    project.record("-p", "no:randomly", tests=SERVERS[server]).assert_outcomes(passed=3)
    changed = SERVERS[server].replace('ask("two")', 'ask("two more")').replace("def test_two", f"{marker}def test_two")
    result = project.run("-p", "no:randomly", tests=changed)
    result.assert_outcomes(passed=2, failed=1)
    output = result.stdout.str()
    assert "FAILED test_app.py::test_two - CassetteMiss" in output
    assert "aquila: 1 test misses: prompt: recorded 'two', now 'two more' in test_app.py::test_two" in output
    assert "2 replayed, 0 recorded, 1 missed" in output
    assert output.count("pytest test_app.py::test_two --aquila-record") == 2
    assert "test_app.py::test_one" not in output
    project.record("-k", "two", tests=changed.replace('== "2"', '== "4"')).assert_outcomes(passed=1, deselected=2)
    project.run().assert_outcomes(passed=3)


def test_a_refusal_of_a_server_names_the_test_that_started_it_as_that(project: Project) -> None:
    make_swallowing(project)
    result = project.run("-p", "no:randomly", "-k", "one or two", tests=SWALLOWING)  # nothing is recorded yet
    result.assert_outcomes(failed=2, deselected=1)
    output = result.stdout.str()
    assert output.count("  started in test_app.py::test_one\n") == 2
    assert "  test       " not in output


@pytest.mark.parametrize("server", slow_but(["forked"], SERVERS))
def test_a_cassette_that_a_server_cannot_read_fails_the_test_that_asked(project: Project, server: str) -> None:
    make_swallowing(project)
    project.record("-p", "no:randomly", "-k", "one", tests=SERVERS[server]).assert_outcomes(passed=1, deselected=2)
    path = project.cassettes / "test_app/@ask.yaml"
    conflict = "<<<<<<< HEAD\n{0}=======\n{0}>>>>>>> other\n".format(path.read_text("utf-8"))
    path.write_text(conflict, "utf-8")
    result = project.run("-k", "two")  # the server's own answer is the one that the test expects
    result.assert_outcomes(failed=1, deselected=2)
    result.stdout.fnmatch_lines(["FAILED test_app.py::test_two - CassetteUnusable: *@ask.yaml*git conflict*"])


def test_recordings_of_a_server_that_cannot_be_stored_fail_the_test_that_asked(project: Project) -> None:
    make_swallowing(project)
    (project.pytester.path / "cassettes").mkdir()
    (project.pytester.path / "cassettes/.journal").touch()  # where the folder of the journals belongs
    answered = SWALLOWING.replace('== "1"', '== "2"')  # the server's own answer is the one that the tests expect
    result = project.record("-p", "no:randomly", "-k", "one or two", tests=answered)
    result.assert_outcomes(failed=2, deselected=1)
    for name in ("one", "two"):
        result.stdout.fnmatch_lines([f"FAILED test_app.py::test_{name} - CassetteUnusable: cannot write *.journal*"])
    assert not project.calls


def test_a_setup_that_fails_because_its_server_missed_shows_the_miss(project: Project) -> None:
    tests = f"""
{IMPORTS}
@pytest.fixture(scope="session")
def server():
    child = os.fork()
    if not child:
        try:
            post(1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError("the server did not start")

def test_one(server): pass
"""
    project.record(tests=tests).assert_outcomes(passed=1)
    result = project.run(tests=tests.replace("post(1)\n        except", "post(2)\n        except"))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["E *OSError: the server did not start", "*Captured aquila setup*", "*: recorded 1, now 2"]
    )
    assert result.stdout.str().count(": recorded 1, now 2") == 2  # and in the summary


def test_the_error_of_a_fixture_that_missed_is_left_as_it_was(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="module")
        def answer():
            try:
                post("never recorded")
            except BaseException:
                raise OSError("no answer") from None

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(request, number):
            with pytest.raises(OSError) as raised:
                request.getfixturevalue("answer")
            assert not vars(raised.value)
        """
    project.run(tests=tests).assert_outcomes(passed=2)


@pytest.mark.slow  # servers in processes of their own
def test_each_test_that_asks_a_server_what_is_not_recorded_fails(project: Project) -> None:
    make_swallowing(project)
    project.record("-p", "no:randomly", tests=SWALLOWING).assert_outcomes(passed=3)
    asking = re.sub(r'ask\("\w+"\) == "\d"', 'ask("another") == "2"', SWALLOWING)
    project.run(tests=asking).assert_outcomes(failed=3)


@pytest.mark.parametrize("options", [(), ("--aquila-record", "--aquila-upstream=local")])
def test_a_fixture_that_starts_programs_keeps_its_variables_if_it_has_no_cassette(
    project: Project, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    # They give access to more than models. A fixture may start a program that stores files in a cloud.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAQ7ZP4XN2WJ5RT8LM")
    tests = """
        import subprocess, sys

        @pytest.fixture(scope="session")
        def key():
            return subprocess.check_output([sys.executable, "-c", "import os; print(os.environ['AWS_ACCESS_KEY_ID'])"])

        def test_one(key): assert key.strip() == b"AKIAQ7ZP4XN2WJ5RT8LM"
        """
    project.run(*options, tests=tests).assert_outcomes(passed=1)


def test_a_fixture_that_sends_no_request_needs_no_settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_TIMEOUT", "5")  # restored in any case
    tests = """
        import os

        def test_leaves_a_wrong_setting():
            os.environ["AQUILA_TIMEOUT"] = "soon"

        @pytest.fixture(scope="module")
        def one(): return 1

        def test_one(one): assert one == 1
        """
    project.run("-p", "no:randomly", tests=tests).assert_outcomes(passed=2)


def test_a_fixture_that_sends_no_request_needs_no_cassette_folder_that_can_be_read(project: Project) -> None:
    tests = """
        import os

        @pytest.fixture(scope="module")
        def one(): return 1

        def test_one(request, monkeypatch):
            def refuse(*args, **options): raise PermissionError(13, "Permission denied")
            with monkeypatch.context() as patch:
                patch.setattr(os, "stat", refuse)
                assert request.getfixturevalue("one") == 1
        """
    project.run(tests=tests).assert_outcomes(passed=1)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such folder")
@pytest.mark.parametrize("recording", [(), ("--aquila-record",)], ids=["replay", "record"])
def test_a_fixture_that_sends_no_request_needs_no_name_for_a_cassette(
    project: Project, recording: tuple[str, ...]
) -> None:
    folder = project.pytester.mkdir("c:tests")  # a cassette cannot be named after it: on Windows, that is a drive
    (folder / "test_it.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='module')\ndef one(): return 1\n\ndef test_one(one): pass\n"
    )
    project.cassettes.mkdir()
    project.pytester.runpytest(*recording, "--import-mode=importlib", folder).assert_outcomes(passed=1)


BY_SUBPROCESS = "subprocess.run([sys.executable, '-c', CODE], check=True)"
BY_FORK = "child = multiprocessing.get_context('fork').Process(target=exec, args=(CODE,)); child.start(); child.join()"


@pytest.mark.parametrize(
    ("fixture", "start"),
    slow_but(
        [("request", BY_FORK)],
        [("request", BY_SUBPROCESS), ("aquila_cassette", BY_SUBPROCESS), ("request", BY_FORK)],
        of_several_names=True,
    ),
)
def test_blocks_within_a_child_process_count_in_the_summary(project: Project, fixture: str, start: str) -> None:
    tests = f"""
        import multiprocessing, subprocess, sys

        CODE = '''
        import aquila
        from app import post
        with aquila.use_cassette("outer"):
            post("one")
            with aquila.use_cassette("inner"):
                post("two")
        '''

        @pytest.mark.parametrize("time", [1, 2])
        def test_it({fixture}, time):
            {start}
        """
    options = ("-p", "no:randomly")
    project.record(*options, "-k", "1", tests=tests).stdout.fnmatch_lines(["aquila: 0 replayed, 2 recorded, 0 missed*"])
    result = project.run(*options, "--aquila-report=run.json")
    result.stdout.fnmatch_lines(["aquila: 4 replayed, 0 recorded, 0 missed*"])
    for test in read_report(project.pytester.path)["tests"]:  # the inner block ends first
        assert [(each["cassette"], each["number"], each["states"]) for each in test["exchanges"]] == [
            ("cassettes/inner.yaml", 1, ["replayed"]),
            ("cassettes/outer.yaml", 1, ["replayed"]),
        ]
        assert {"cassettes/inner.yaml", "cassettes/outer.yaml"} <= set(test["cassettes"])
