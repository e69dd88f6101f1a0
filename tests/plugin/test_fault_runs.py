"""``pytest --aquila-faults``: the verdicts on small programs, each with a habit. With real forks."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquila.fault_verdicts.report import FaultReport
from pytest_aquila.faulted_tests.fault_runs import FaultRuns

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROVIDER = """
import json
import httpx2

def event(**delta):
    choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
    data = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(data).encode() + b"\\n\\n"

def handle(request):
    if json.loads(request.content).get("stream"):
        events = [event(role="assistant"), *(event(content=f"{word} ") for word in "one two three".split()), event()]
        body = b"".join(events) + b"data: [DONE]\\n\\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    message = {"role": "assistant", "content": "one two three"}
    return httpx2.Response(200, json={"id": "c", "object": "chat.completion", "choices": [{"message": message}]})

def transport():
    return httpx2.MockTransport(handle)
"""

APP = """
import asyncio, json, threading, time
import httpx2

URL = "https://api.openai.com/v1/chat/completions"

def body(**more):
    return {"model": "m", "messages": [{"role": "user", "content": "count"}], **more}

def text_of(response):
    response.raise_for_status()
    return response.json()["choices"][0]["message"]["content"]

def simple():
    return text_of(httpx2.post(URL, json=body(), timeout=5))

def patient():
    for _ in range(4):
        response = httpx2.post(URL, json=body(), timeout=5)
        if response.status_code not in (429, 503):
            break
        time.sleep(float(response.headers.get("retry-after", 7)))
    return text_of(response)

async def patient_async():
    async with httpx2.AsyncClient(timeout=5) as client:
        for _ in range(4):
            response = await client.post(URL, json=body())
            if response.status_code not in (429, 503):
                break
            await asyncio.sleep(float(response.headers.get("retry-after", 7)))
    return text_of(response)

def hasty():
    for _ in range(30):
        response = httpx2.post(URL, json=body(), timeout=5)
        if response.status_code == 200:
            break
    return text_of(response)

def read(timeout=5):
    text, is_whole = "", False
    with httpx2.stream("POST", URL, json=body(stream=True), timeout=timeout) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line == "data: [DONE]":
                is_whole = True
            elif line:
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    return text, is_whole

def naive():
    return read()[0]

def noticing():
    text, is_whole = read()
    return text if is_whole else text + "[cut]"

def telling():
    try:
        return read()[0]
    except httpx2.HTTPError:
        return "sorry"

def begun_anew():  # with its first request, which had its answer, as a job is
    for _ in range(3):
        try:
            return simple() + read()[0]
        except (httpx2.HTTPError, KeyError):
            time.sleep(60)
    raise RuntimeError("three times")

async def limited():
    async with httpx2.AsyncClient(timeout=None) as client, asyncio.timeout(300):
        return text_of(await client.post(URL, json=body()))

def littering():
    response = httpx2.post(URL, json=body(), timeout=5)
    if response.status_code != 200:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return text_of(response)
"""

TESTS = """
import asyncio
import pytest
import app

pytestmark = pytest.mark.aquila("shared")
state = []

@pytest.fixture(scope="module")
def shared():
    state.append("set up")
    yield
    state.append("torn down")

@pytest.fixture
def own(shared):
    assert state == ["set up"]
    state.append("own")
    yield
    state.remove("own")

def test_simple(own): assert app.simple().startswith("one")
def test_patient(own): assert app.patient().startswith("one")
def test_patient_async(own): assert asyncio.run(app.patient_async()).startswith("one")
def test_hasty(own): assert app.hasty().startswith("one")
def test_naive(own): assert app.naive().startswith("one")
def test_noticing(own): assert app.noticing().startswith("one")
def test_telling(own): assert app.telling()
def test_strict(own): assert app.naive() == "one two three "
def test_begun_anew(own): assert app.begun_anew().endswith("three ")
def test_limited(own): assert asyncio.run(app.limited())
def test_littering(own): assert app.littering()
def test_without_answers(own): assert state
@pytest.mark.aquila(faults="server_error")
def test_about_a_fault():
    with pytest.raises(Exception): app.simple()
def test_torn_down(): pass
"""

CHOSEN = RATE, WRONG_KEY, BUSY, EARLY, LATE, CUT = (
    "rate_limit(retry_after=30.0)",
    "unauthorized",
    "overloaded(times=None)",
    "end_early",
    "timeout",
    "cut_stream",
)

# For each test: the verdicts that are not "clear", with the names of the findings.
VERDICTS: dict[str, dict[str, tuple[str, ...]]] = {
    "test_simple": {},
    "test_patient": {RATE: ("held",)},
    "test_patient_async": {RATE: ("held",)},
    "test_hasty": {
        RATE: ("held", "ignored_retry_after"),
        WRONG_KEY: ("held", "retried_hopeless"),
        BUSY: ("clear", "retry_storm", "no_backoff"),
    },
    "test_naive": {EARLY: ("accepted", "accepted", "took_truncated")},
    "test_noticing": {EARLY: ("held",)},
    "test_telling": {
        EARLY: ("accepted", "accepted", "took_truncated"),
        **dict.fromkeys((RATE, WRONG_KEY, BUSY, LATE, CUT), ("held",)),
    },
    "test_strict": {EARLY: ("changed",)},
    "test_begun_anew": {
        RATE: ("held",),
        WRONG_KEY: ("held", "retried_hopeless"),
        LATE: ("held",),
        CUT: ("held",),
    },
    "test_limited": {},
    "test_littering": dict.fromkeys((RATE, WRONG_KEY, BUSY), ("leaks", "leaks")),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("provider", PROVIDER), ("app", APP), ("test_app", TESTS)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    output, _ = process.communicate()
    return process.returncode, output


def record(folder: Path) -> None:
    code, output = run(folder, "-q", "--aquila-record", "--aquila-upstream=provider:transport", "-p", "no:xdist")
    assert code in (0, 1), output  # the test about a fault fails until its good answer is recorded


def hash_of(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def read_verdicts(folder: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    rows = json.loads((folder / "report.json").read_text())["runs"]
    return {
        (row["test"].partition("::")[2], row["fault"]): (row["verdict"], *(each["name"] for each in row["findings"]))
        for row in rows
    }


ALL_VERDICTS = {
    (test, fault): verdicts.get(fault, ("clear",)) for test, verdicts in VERDICTS.items() for fault in CHOSEN
}


@pytest.mark.long(25)
@pytest.mark.slow
def test_what_programs_do_with_faults_is_told_for_each_test_and_fault(folder: Path) -> None:
    record(folder)
    before = hash_of(folder / "cassettes")
    chosen = f"--aquila-faults={','.join(CHOSEN)}"
    code, output = run(folder, "-p", "no:xdist", chosen, "--aquila-faults-json=report.json")
    assert "14 passed" in output, output
    assert read_verdicts(folder) == ALL_VERDICTS, output
    assert (code, hash_of(folder / "cassettes")) == (1, before)
    assert "test_app.py::test_naive" in output
    assert "end_early                     accepted  passes, although an answer is not whole; took a" in output
    assert "66 runs of 11 tests: " in output
    rules = ("test_app.py::* * accepted", "*test_hasty * *", "*_anew * *", "*littering * leaks")
    allowed = "\n  ".join(("[pytest]\naquila_faults_allowed =", *rules)) + "\n"
    (folder / "pytest.ini").write_text(allowed)
    code, output = run(
        folder, "-n2", "--aquila-faults=end_early,unauthorized", "--aquila-faults-json=report.json", "--dist=load"
    )
    report = json.loads((folder / "report.json").read_text())
    assert code == 0, output
    tried = {key: verdict for key, verdict in ALL_VERDICTS.items() if key[1] in (EARLY, WRONG_KEY)}
    assert read_verdicts(folder) == tried
    assert not report["failed"]
    assert {each["allowed"] for row in report["runs"] for each in row["findings"]} == {True}
    assert "; allowed: " in output


HANGING = """
import app, httpx2, pytest

@pytest.mark.aquila("shared")
def test_no_limit():
    assert app.read(timeout=None)[0]

@pytest.mark.aquila("shared")
def test_for_ever():
    while httpx2.post(app.URL, json=app.body()).is_error:
        pass
"""


@pytest.mark.long(15)
@pytest.mark.slow
def test_what_does_not_end_is_ended_and_said_to_hang(folder: Path) -> None:
    record(folder)
    (folder / "test_app.py").unlink()
    (folder / "test_hanging.py").write_text(HANGING)
    (folder / "pytest.ini").write_text("[pytest]\naquila_faults_timeout = 8\n")
    code, output = run(folder, "-p", "no:xdist", f"--aquila-faults=stall,{BUSY}", "--aquila-faults-json=report.json")
    assert code == 1, output
    assert read_verdicts(folder)["test_no_limit", "stall"] == ("hangs", "hangs", "no_read_timeout"), output
    assert "no end after 8 s, in app.py:" in output
    assert read_verdicts(folder)["test_for_ever", BUSY][0] == "hangs", output
    assert "still asking after 100 requests" in output


@pytest.mark.slow
def test_ctrl_c_ends_what_runs_and_leaves_nothing_behind(folder: Path) -> None:
    record(folder)
    before = hash_of(folder / "cassettes")
    told = folder / "told"
    (folder / "test_app.py").write_text(
        "import os, app, pytest\n"
        "@pytest.mark.aquila('shared')\n"
        "def test_it():\n"
        f"    open({str(told)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "    app.read(timeout=None)\n"
    )
    os.mkfifo(folder / "begun")
    (folder / "app.py").write_text(
        APP + f"\nfirst = read\ndef read(timeout):\n"
        f"    if len(open({str(told)!r}).readlines()) == 3:\n"
        f"        open({str(folder / 'begun')!r}, 'w').write('.')\n"
        f"    return first(timeout)\n"
    )
    process = start(folder, "-p", "no:xdist", "--aquila-faults=stall", "--aquila-faults-json=report.json")
    assert process.stdout is not None
    begun = os.open(folder / "begun", os.O_RDWR)
    stdout, said = process.stdout.fileno(), b""
    while begun not in select.select([begun, stdout], [], [])[0]:  # until the run under the fault has begun
        said += (piece := os.read(stdout, 65536))
        assert piece, said  # pytest has ended
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert (process.returncode, hash_of(folder / "cassettes")) == (2, before), output
    assert "KeyboardInterrupt" in output
    assert json.loads((folder / "report.json").read_text())["is_whole"] is False
    for pid in told.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_an_allowance_may_be_for_all_faults_that_fit_a_pattern(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\naquila_faults_allowed = x cut_* accepted\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "--aquila-faults")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


CHOICE = """
import pytest
from aquila import errors

shared_is, tries = [], []

@pytest.fixture(scope="module")
def shared():
    shared_is.append("set up")
    yield
    shared_is.append("torn down")

def test_passes(shared, aquila_script): pass
def test_fails(aquila_script): assert 0
@pytest.mark.xfail
def test_xfails(aquila_script): assert 0
@pytest.mark.xfail
def test_xpasses(aquila_script): pass
def test_passes_the_second_time(aquila_script):
    tries.append(1)
    assert len(tries) == 2
@pytest.mark.aquila(faults="overloaded")
def test_about_a_fault(aquila_script): aquila_script.unused = "ignore"; pytest.fail("not met")
@pytest.mark.aquila(faults=None)
def test_not_under_faults(shared, aquila_script): pass
def test_that_may_set_faults(aquila_script, aquila_faults): pass
def test_that_has_set_faults(request, aquila_script):
    with pytest.raises(errors.FaultFailed), request.getfixturevalue("aquila_faults").overloaded(): pass
def test_without_answers(shared): pass
@pytest.fixture
def broken():
    yield
    assert 0
def test_fails_in_its_teardown(broken, aquila_script): pass
def test_is_the_last_with_the_fixture(shared, aquila_script): pass
"""


def test_a_test_runs_under_faults_if_it_has_passed_and_chooses_none_itself(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: dict[str, list[str]] = {}

    def attempt(self: FaultRuns, item: pytest.Item, **options: Any) -> dict[str, Any]:
        run[item.name] = list(item.module.shared_is)  # type: ignore[attr-defined]
        return {"ending": "passed", "attempts": []}

    monkeypatch.setattr(FaultRuns, "_attempt", attempt)
    pytester.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):  # as plugins run a test again
            if item.name == "test_passes_the_second_time":
                runtestprotocol(item, nextitem=nextitem, log=False)
        """
    )
    after = "from test_choice import shared_is\ndef test_it(): assert shared_is == ['set up', 'torn down']\n"
    pytester.makepyfile(test_choice=CHOICE, test_next=after)
    result = pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider", "--aquila-faults=overloaded")
    result.assert_outcomes(passed=9, failed=2, errors=1, xfailed=1, xpassed=1)
    assert list(run) == ["test_passes", "test_passes_the_second_time", "test_is_the_last_with_the_fixture"]
    assert list(run.values()) == [["set up"]] * 3


SERVED = """
    import http.server, threading, urllib.error, urllib.request
    import pytest

    URL = "https://api.openai.com/v1/chat/completions"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                urllib.request.urlopen(urllib.request.Request(URL, b'{"model": "m", "messages": []}')).close()
                self.send_response(204)
            except Exception:
                self.send_response(500)
            self.end_headers()

    @pytest.fixture(scope="module")
    def server():
        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def test_it(server, aquila_script):
        aquila_script.reply("one")
        urllib.request.urlopen(server).close()
    """


def test_a_test_of_a_server_in_a_thread_is_not_run_and_what_that_is_refused_is_no_news(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(SERVED)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "--aquila-faults=overloaded")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_it: not run under faults: *(a thread of the test run makes its requests,*"])
    result.stdout.no_fnmatch_line("*outside of any test*")


def test_a_controller_takes_in_the_verdicts_of_its_workers_and_says_which_crashed(pytester: pytest.Pytester) -> None:
    runs = FaultRuns(pytester.parseconfig("--aquila-faults"))
    sent = FaultReport(not_run=[("test_it", "why")]).as_plain_data()
    runs.pytest_testnodedown(SimpleNamespace(workeroutput={"aquila_faults": sent}), None)
    runs.pytest_testnodedown(SimpleNamespace(gateway=SimpleNamespace(id="gw1")), "crashed")
    runs.pytest_testnodedown(SimpleNamespace(), None)  # its tests had nothing to judge
    crashed = ("worker gw1", "it crashed, and what it had judged is lost")
    assert list(map(tuple, runs._report.not_run)) == [("test_it", "why"), crashed]


@pytest.mark.slow
def test_what_the_child_of_an_attempt_is_refused_fails_no_other_test(pytester: pytest.Pytester) -> None:
    asking = "from aquila.recording.network import guard; guard.make_refusal('what it asks was refused')"
    pytester.makepyfile(
        f"""
        import os, subprocess, sys
        import httpx2

        HERE = os.getpid()

        def test_it(aquila_script):
            aquila_script.reply("Tern Bay")
            httpx2.post("https://api.openai.com/v1/chat/completions", json={{"model": "m", "messages": []}})
            if os.getpid() != HERE:
                subprocess.run([sys.executable, "-c", {asking!r}], stderr=subprocess.DEVNULL)

        def test_next(): pass
        """
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "--aquila-faults=overloaded"
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*without a fault it does not pass*"])
    result.stdout.no_fnmatch_line("*refused when no test*")


@pytest.mark.parametrize("ends", ["assert 0", "pytest.exit('enough', returncode=0)"])
def test_the_report_of_a_run_that_stops_early_is_not_whole(ends: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"import pytest\n\ndef test_one(): {ends}\n\ndef test_two(): assert 0\n")
    report = pytester.path / "report.json"
    pytester.runpytest_inprocess("-x", "--aquila-faults=overloaded", f"--aquila-faults-json={report}")
    assert json.loads(report.read_text())["is_whole"] is False


def test_a_python_whose_garbage_collector_lacks_freeze_is_refused(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as PyPy. Otherwise no test would run under a fault, and the run would pass."""
    monkeypatch.delattr(gc, "freeze")
    result = pytester.runpytest_inprocess("--aquila-faults")
    result.stderr.fnmatch_lines(["ERROR: --aquila-faults asks the garbage collector *: it needs CPython"])
