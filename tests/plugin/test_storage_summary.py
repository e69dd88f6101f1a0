"""The last lines of a run name recordings that could not be stored, those in journals, and the holder of a lock."""

from __future__ import annotations

import contextlib
import itertools
import sys
import textwrap

import pytest

from aquila.cassettes.storage import journal
from tests.plugin.conftest import Project
from tests.support.forked import do_in_child
from tests.support.slow import slow_but

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


def run_workers(project: Project, tests: str, *arguments: str) -> pytest.RunResult:
    pytest.importorskip("xdist")
    project.pytester.makepyfile(test_app="from app import post\nimport aquila, pytest\n" + textwrap.dedent(tests))
    return project.pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--aquila-upstream={project.module}:transport", *arguments
    )


CRASH = """
import os, signal

def test_crashes(aquila_cassette):
    post("one")
    post("two")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_after_a_crashed_worker_the_last_lines_say_what_waits_and_what_takes_it_over(project: Project) -> None:
    result = run_workers(project, CRASH, "--aquila-record", "-n1", "--max-worker-restart=0")
    assert result.ret != 0
    result.stdout.fnmatch_lines(
        [
            "aquila: 2 recordings wait in cassettes/.journal: test_app/test_crashes (2). "
            "The next recording run (pytest --aquila-record) takes them over; to do it now: aquila cassettes accept"
        ]
    )
    result = project.record(tests="def test_it(aquila_cassette): post('three')")
    result.stdout.fnmatch_lines(["aquila: took over 2 recordings of an interrupted run into: cassettes*crashes.yaml"])
    result.stdout.no_fnmatch_line("*recording* wait*")


def test_what_only_a_child_of_an_interrupted_test_has_recorded_is_counted_once(project: Project) -> None:
    tests = """
        from app import post_in_fork

        def test_it(aquila_cassette):
            assert post_in_fork(1) == 0
            pytest.exit("enough")
        """
    result = project.record(tests=tests)
    result.stdout.fnmatch_lines(["aquila: 1 recording waits in cassettes/.journal: test_app/test_it (1). *"])


STOPS = """
import pathlib

stop = pathlib.Path("stop")

@pytest.fixture(scope="module")
def shared():
    post("of the fixture")
    if stop.exists() and "setup" in stop.read_text():
        {stops}

@pytest.fixture
def late(aquila_cassette):
    yield
    if stop.exists() and "teardown" in stop.read_text():
        {stops}

def test_it(shared, late):
    post("of the test")
"""


@pytest.mark.parametrize(
    ("phase", "stops"),
    slow_but(
        [("setup", "raise KeyboardInterrupt"), ("teardown", "pytest.exit('enough')")],
        list(itertools.product(("setup", "teardown"), ("raise KeyboardInterrupt", "pytest.exit('enough')"))),
        of_several_names=True,
    ),
)
def test_what_was_recorded_before_a_fixture_was_interrupted_is_not_asked_again(
    project: Project, phase: str, stops: str
) -> None:
    stop = project.pytester.path / "stop"
    stop.write_text(phase)
    told = project.pytester.path / "told.txt"

    def interrupted() -> None:
        with contextlib.suppress(KeyboardInterrupt), told.open("w") as file, contextlib.redirect_stdout(file):
            assert project.record(tests=STOPS.replace("{stops}", stops)).ret == pytest.ExitCode.INTERRUPTED

    assert do_in_child(interrupted) == 0  # as long as its process lives, its journals are in use
    waits = "@shared" if phase == "setup" else "test_it"
    result = pytest.LineMatcher(told.read_text().splitlines())
    result.fnmatch_lines([f"aquila: 1 recording waits in cassettes/.journal: test_app/{waits} (1). *"])
    result.no_fnmatch_line("*the test did not pass*")
    stop.unlink()
    project.record().assert_outcomes(passed=1)
    assert len(project.calls) == 2  # nothing was asked twice
    assert project.cassette_names == {"test_app/@shared.yaml", "test_app/test_it.yaml"}


def test_a_run_that_leaves_nothing_in_journals_says_nothing_of_them(project: Project) -> None:
    result = project.record(tests="def test_it(aquila_cassette): post('three'); assert 0")
    result.stdout.no_fnmatch_line("*recording* wait*")


def test_errors_of_the_disk_are_counted_even_if_the_program_swallows_them(project: Project) -> None:
    result = project.record(
        tests="""
        import os, errno

        def test_it(aquila_cassette, monkeypatch):
            def full(*arguments):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            from aquila.cassettes.storage import journal
            monkeypatch.setattr(journal, "_open_locked", full)
            for _ in range(3):
                try:
                    post("one")
                except aquila.errors.CassetteWriteError:
                    pass
        """
    )
    result.stdout.fnmatch_lines(
        [
            "aquila: not stored: cannot write *Too many open files*ulimit -n*",
            "*recorded, * missed*; 1 error of storage",
        ]
    )


def test_a_cassette_that_cannot_be_read_fails_a_test_that_swallows_the_error(project: Project) -> None:
    tests = """
        import contextlib

        def test_it(aquila_cassette):
            with contextlib.suppress(Exception):
                post("one")
        """
    project.record(tests=tests).assert_outcomes(passed=1)
    path = project.cassettes / "test_app/test_it.yaml"
    path.write_text(path.read_text("utf-8").replace("...", ""), "utf-8")
    result = project.run()
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("the file is cut off") == 2  # in the failure, and in the list of failures
    swallowed = project.run(tests=tests.replace("contextlib.suppress(Exception)", "contextlib.nullcontext()"))
    swallowed.assert_outcomes(failed=1)
    assert swallowed.stdout.str().count("the file is cut off") == 2
    expected = tests.replace("(aquila_cassette)", "(aquila_cassette, aquila_refusals)")
    project.run(tests=f"{expected}    aquila_refusals.forget()").assert_outcomes(passed=1)


def test_a_cassette_that_cannot_be_written_is_counted_and_what_waits_is_said(project: Project) -> None:
    result = project.record(
        tests="""
        def test_it(aquila_cassette):
            import pathlib
            post("one")
            pathlib.Path(ROOT, "test_app", "test_it.yaml").mkdir(parents=True)
        """.replace("ROOT", repr(str(project.cassettes)))
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["aquila: not stored: *test_it.yaml*", "aquila: 1 recording waits in *test_app/test_it (1)*"]
    )
    assert journal.find_abandoned_journals(project.cassettes)


def test_the_process_that_holds_a_lock_is_named_although_pytest_captures_the_log(project: Project) -> None:
    result = project.record(
        tests="""
        import logging, threading
        from pathlib import Path
        from aquila.cassettes.storage import cassette_lock

        root = Path(ROOT)
        entered, said = threading.Event(), threading.Event()

        class Listener(logging.Handler):
            def emit(self, record):
                said.set()

        def hold():
            with cassette_lock.hold_cassette_lock(root / "test_app" / "test_it.yaml", root):
                entered.set()
                said.wait(60)

        def test_it(aquila_cassette):
            post("one")
            cassette_lock._SAID_AFTER = 0.05
            logging.getLogger("aquila").addHandler(Listener())
            threading.Thread(target=hold).start()
            entered.wait(60)
        """.replace("ROOT", repr(str(project.cassettes)))
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: *test_it.yaml: waiting to write it; process * is writing it now (lock *)"])


def test_a_deleted_working_directory_keeps_no_test_from_recording(project: Project) -> None:
    tests = """
    import os, tempfile

    def test_deletes_it(aquila_cassette):
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)
        post("one")

    def test_goes_on(aquila_cassette):
        post("two")
    """
    project.record(tests=tests).assert_outcomes(passed=2)
    assert sorted(path.name for path in project.cassettes.glob("test_app/*.yaml")) == [
        *("test_deletes_it.yaml", "test_goes_on.yaml")
    ]


def test_no_free_descriptors_are_counted_and_nothing_is_asked_that_could_not_be_stored(project: Project) -> None:
    tests = """
    import os, resource

    def test_first(aquila_cassette):
        post("loads what a request needs")

    def test_it(aquila_cassette):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, hard), hard))
        opened = []
        try:
            while True:
                try:
                    opened.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            for _ in range(2):
                try:
                    post("one")
                except aquila.errors.CassetteWriteError as error:
                    assert "ulimit -n" in str(error)
                else:
                    raise AssertionError
        finally:
            for descriptor in opened:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    """
    result = project.record(tests=tests)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["aquila: not stored: *Too many open files*", "*; 1 error of storage"])


def test_a_recording_run_that_records_nothing_leaves_no_folder(project: Project) -> None:
    project.record(tests="def test_it(aquila_cassette): pass").assert_outcomes(passed=1)
    assert not project.cassettes.exists()


def test_a_failure_to_store_which_test_used_which_cassette_is_one_sentence(project: Project) -> None:
    (project.cassettes / "@tests.jsonl").mkdir(parents=True)  # as with a full disk, it cannot be replaced
    result = project.record(tests="@pytest.mark.aquila('shared')\ndef test_it(): post('one')")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: not stored: cannot write *@tests.jsonl: *", "*1 recorded*1 error of storage"])
    project.run().assert_outcomes(passed=1)


def test_a_run_that_a_test_ends_as_a_success_says_what_waits(project: Project) -> None:
    result = project.record(tests="def test_it(aquila_cassette):\n    post('one')\n    pytest.exit('enough', 0)\n")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["aquila: 1 recording waits in cassettes/.journal: test_app/test_it (1). *"])
