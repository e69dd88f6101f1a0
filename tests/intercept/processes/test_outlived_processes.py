"""A process that outlives its test is answered in no other one, and what it is refused fails a test or the run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from aquila.cassettes.storage.scope_ids import new_scope_id
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.open_to_children import OpenToChildren, ScopesShownToChildren
from tests.support.clients import ASKING
from tests.support.runs import separate_run
from tests.support.upstream import Upstream

TESTS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import asking

@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("{way}")) as pool:
        yield pool

@pytest.fixture(scope="module")
def ready_pool():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("{way}")) as pool:
        pool.submit(int).result()
        yield pool

def test_first(pool, aquila_cassette):
    assert pool.submit(asking.ask, "{url}", "one").result() == "one"

def test_second(pool, aquila_cassette):
    try:
        pool.submit(asking.ask, "{url}", "two").result()
    except Exception:
        pass

def test_without_a_cassette(pool):
    try:
        pool.submit(asking.ask, "{url}", "two").result()
    except Exception:
        pass

def test_innocent(aquila_cassette):
    pass

@pytest.mark.parametrize("prompt", ["three", "four"])
def test_of_a_fixture(ready_pool, prompt, aquila_cassette):
    assert ready_pool.submit(asking.ask, "{url}", prompt).result() == prompt
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_a_pool_that_tests_share_fails_those_that_it_cannot_serve(
    way: str, pytester: pytest.Pytester, echoing: Upstream
) -> None:
    tests = TESTS.replace("{way}", way).replace("{url}", echoing.url)
    pytester.makepyfile(asking=ASKING, test_it=tests)
    pytester.makeini("[pytest]\naquila_providers = 127.0.0.1\n")
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly")
    for options in (("--aquila-record",), ()):
        result = pytester.runpytest_subprocess(*options, *plain)
        result.assert_outcomes(passed=4, failed=2)
        result.stdout.fnmatch_lines(["*test_it.py::test_first has ended, and a process that it started*"])
        result.stdout.no_fnmatch_line("*what is not recorded*")
        result.stdout.no_fnmatch_line(
            "*in cassettes/.journal*"
        )  # what was recorded before the test had ended is stored
    assert [json.loads(body)["prompt"] for _, body in echoing.requests] == ["one", "three", "four"]


LATE = (
    """
import subprocess, sys
import pytest

ASKING = """
    + repr(
        """
import httpx2, sys
sys.stdin.read()  # until it is closed
try:
    httpx2.post("https://api.openai.com/v1/chat/completions", json={})
except Exception:
    pass
"""
    )
    + """

def start():
    pytest.child = subprocess.Popen([sys.executable, "-c", ASKING], stdin=subprocess.PIPE)

def test_plain():
    start()

def test_with_a_cassette(aquila_cassette):
    start()
"""
)
ENDING = """
import pytest

def pytest_sessionfinish():
    if child := getattr(pytest, "child", None):
        child.communicate()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["-n0", "-n1"])
@pytest.mark.parametrize(
    ("test", "told"),
    [
        ("plain", "a process that test_it.py::test_plain started: POST https://api.openai.com/v1/chat/completions was"),
        ("with_a_cassette", "test_it.py::test_with_a_cassette has ended, and a process that it started is still"),
    ],
)
def test_a_refusal_after_the_last_test_fails_the_run(
    test: str, told: str, workers: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it=LATE, conftest=ENDING)
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:randomly", f"test_it.py::test_{test}", workers
    )
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    shown = " ".join(result.stdout.str().split())
    assert f"aquila: refused when no test could fail for it any more: {told}" in shown


SHOWING = """
import asking

def show(prompt):
    try:
        print(asking.ask("{url}", prompt.strip()), flush=True)
    except Exception as error:
        print(error, flush=True)
"""
LEFT = '''
import subprocess, sys
import pytest

PROGRAM = """
import subprocess, sys
import showing

for line in sys.stdin:
    {answer}
"""

@pytest.fixture(scope="session")
def ask(given):
    if not given:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        given.append(subprocess.Popen([sys.executable, "-c", PROGRAM], text=True, **pipes))
    def ask(prompt):
        print(prompt, file=given[0].stdin, flush=True)
        return given[0].stdout.readline().strip()
    return ask

def test_it(ask, prompt):
    assert ask(prompt) == prompt
'''
TWO_RUNS = """
import sys
import pytest

class Given:
    def __init__(self, text): self.text = text
    @pytest.fixture
    def prompt(self): return self.text
    @pytest.fixture(scope="session")
    def given(self): return servers

servers = []
code = pytest.main(["--aquila-record", *sys.argv[1:]], plugins=[Given("one")])
again = pytest.main(sys.argv[1:], plugins=[Given("two")])
server = servers.pop()
server.communicate()
print(f"exit codes: {int(code)}, {int(again)}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("showing.show(line)", id="by itself"),
        # As uvicorn and gunicorn do, which start their workers anew.
        pytest.param(
            "subprocess.run([sys.executable, '-c', f'import showing; showing.show({line!r})'])", id="by a worker"
        ),
    ],
)
def test_a_server_that_outlives_the_run_that_recorded_it_sends_nothing_in_the_next(
    pytester: pytest.Pytester, echoing: Upstream, answer: str
) -> None:
    pytester.makepyfile(
        asking=ASKING,
        showing=SHOWING.replace("{url}", echoing.url),
        test_it=LEFT.replace("{answer}", answer),
        two_runs=TWO_RUNS,
    )
    result = pytester.run(sys.executable, "two_runs.py", "-p", "no:cacheprovider")
    result.stdout.re_match_lines(
        [
            r".*ask of the run has ended, and a process that it started is still making requests "
            r"\(process \d+, a child of \d+\)\. Nothing .* by hand if its run was killed",
            "exit codes: 0, 1",
        ]
    )
    assert [json.loads(body)["prompt"] for _, body in echoing.requests] == ["one"]


BLOCKS = """
import os
import httpx2
import aquila, aquila.vcr

def test_it(aquila_refusals):
    for block in (aquila.use_cassette("x"), aquila.vcr.use_cassette("x.yaml")):
        ended, end = os.pipe()
        with block:
            child = os.fork()
            if not child:
                os.close(end)
                os.read(ended, 1)  # until it is closed
                try:
                    httpx2.post("https://api.openai.com/v1/chat/completions", json={})
                finally:
                    os._exit(0)
        os.close(end)
        os.waitpid(child, 0)
    assert ["start the process within the block;" in refusal.sentence for refusal in aquila_refusals] == 2 * [True]
    aquila_refusals.forget()
"""


def test_a_process_that_has_outlived_a_block_is_told_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BLOCKS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning")
    result.assert_outcomes(passed=1)


def test_children_see_which_scopes_are_open(tmp_path: Path) -> None:
    scopes = OpenToChildren(str(tmp_path))
    one, two, three = (new_scope_id() for _ in range(3))
    for scope in (one, two, one):
        scopes.add(scope)
    scopes.remove(one)
    scopes.remove(one)
    scopes.add(three)
    seeing, blind = ScopesShownToChildren(), ScopesShownToChildren()
    seeing.look_in(str(tmp_path), ("/elsewhere", "mark", "another folder"))
    for scope, is_open in ((one, False), (two, True), (three, True)):
        assert scopes.holds(scope) == blind.is_open(scope, str(tmp_path)) == seeing.is_open(scope, str(tmp_path))
        assert scopes.holds(scope) == is_open
    os.remove(tmp_path / "open")
    assert blind.is_open(one, str(tmp_path)), "nothing says that it has ended"
    assert not seeing.is_open(two, str(tmp_path))


def test_what_children_are_shown_ends_with_the_run(tmp_path: Path) -> None:
    with separate_run(tmp_path) as run:
        told = ChildMessages()
        told.make_folder(run)
        scopes, scope = told.open_scopes, new_scope_id()
        scopes.note_open(scope)
        assert scopes.are_shown_by(os.getpid())
    scopes.note_closed(scope)
    assert not scopes.are_shown_by(os.getpid())
    assert scopes._own is not None
    with pytest.raises(ValueError, match="closed"):
        scopes._own.add(new_scope_id())


def test_where_more_scopes_are_open_than_can_be_told_all_seem_open(tmp_path: Path) -> None:
    scopes = OpenToChildren(str(tmp_path))
    ids = [new_scope_id() for _ in range(400)]
    for scope in ids:
        scopes.add(scope)
    scopes.remove(ids[0])
    assert all(ScopesShownToChildren().is_open(scope, str(tmp_path)) for scope in ids)


def test_a_full_disk_is_an_error_and_no_crash_at_the_first_test(tmp_path: Path) -> None:
    OpenToChildren(str(tmp_path))
    made = (tmp_path / "open").stat()
    # A part of a mapped file that has no place on the disk gets one when it is written; on a full disk that is SIGBUS.
    assert made.st_blocks * 512 >= made.st_size > 0
