"""``pytest --aquila-faults``: programs that look at what an answer says, and tests in the styles that people have."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.plugin.test_fault_runs import read_verdicts
from tests.support.slow import nightly_but

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

APP = """
import json, socket, threading, time
from dataclasses import dataclass
import httpx2

URL = "https://api.openai.com/v1/chat/completions"

def post(messages, **more):
    return httpx2.post(URL, json={"model": "m", "messages": messages, **more}, timeout=5)

def ask(text="count"):
    response = post([{"role": "user", "content": text}])
    response.raise_for_status()
    return response.json()

def trusting():
    return ask()["choices"][0]["message"]["content"] or ""

def looking():
    choice = ask()["choices"][0]
    if choice["finish_reason"] != "stop":
        return "cut off: " + choice["finish_reason"]
    return choice["message"]["content"] or choice["message"].get("refusal") or "nothing was said"

def refused():
    return ask()["choices"][0]["message"].get("refusal") is not None

@dataclass
class Told:
    text: str
    complete: bool

def telling():
    choice = ask()["choices"][0]
    return Told(choice["message"]["content"] or "", complete=choice["finish_reason"] == "stop")

def counting():
    answer = ask()
    return answer["choices"][0]["message"]["content"], answer["usage"]["total_tokens"] > 0

def agent(run_tool):
    messages = [{"role": "user", "content": "weather"}]
    for _ in range(5):
        response = post(messages, tools=[{"type": "function", "function": {"name": "weather"}}])
        response.raise_for_status()
        message = response.json()["choices"][0]["message"]
        if not message.get("tool_calls"):
            return message["content"]
        messages.append(message)
        for call in message["tool_calls"]:
            messages.append({"role": "tool", "tool_call_id": call.get("id"), "content": run_tool(call["function"])})

def run_blindly(function):
    return "18 degrees in " + json.loads(function["arguments"])["city"]

def run_with_care(function):
    try:
        if function["name"] != "weather":
            return "there is no such tool"
        return run_blindly(function)
    except ValueError as error:
        return f"error: {error}"

def patient():
    for _ in range(4):
        response = post([{"role": "user", "content": "count"}])
        if response.status_code != 429:
            break
        time.sleep(float(response.headers["retry-after"]))
    response.raise_for_status()
    return response.json()["choices"][0]["message"]["content"]

kept = []

def littering(what):
    response = post([{"role": "user", "content": "count"}])
    if response.status_code != 200:
        if what == "thread":
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        else:
            kept.append(socket.socket())
    return response.json()

def holding():
    mine = socket.socket()
    return ask(), mine.close()
"""

CONTENTS = """
import pytest, app

@pytest.fixture
def answered(aquila_script):
    aquila_script.when("count").reply("one two three", usage=(2, 3))

@pytest.fixture
def with_tool(aquila_script):
    aquila_script.tool_call("weather", city="Rome").reply("It is 18 degrees in Rome.")

def test_trusting(answered): assert app.trusting() is not None
def test_looking(answered): assert app.looking()
def test_telling(answered): assert app.telling()
def test_refused(aquila_script): aquila_script.refuse("no"); assert app.refused()
def test_strict(answered): assert app.trusting() == "one two three"
def test_counting(answered): assert app.counting()
def test_blind_agent(with_tool): assert "Rome" in app.agent(app.run_blindly)
def test_careful_agent(with_tool): assert "Rome" in app.agent(app.run_with_care)
"""

LIMIT, FILTER, REFUSAL, EMPTY = "finish_length", "content_filter", "refusal", "empty_answer"
ARGUMENTS, TOOL, ID, USAGE, MODEL, BYTE = (
    "broken_arguments",
    "unknown_tool",
    "missing_call_id",
    "no_usage",
    "other_model",
    "one_byte",
)
TAKEN = {LIMIT: ("accepted", "accepted", "took_truncated"), FILTER: ("accepted", "accepted")}
WITHOUT_TOOLS = (LIMIT, FILTER, REFUSAL, EMPTY, USAGE, MODEL, BYTE)

# For each test: the verdicts that are not "held", with the names of the findings.
VERDICTS: dict[str, dict[str, tuple[str, ...]]] = {
    "test_trusting": {**TAKEN, REFUSAL: ("accepted", "accepted"), EMPTY: ("accepted", "accepted")},
    "test_looking": {},
    "test_telling": {REFUSAL: ("accepted", "accepted"), EMPTY: ("accepted", "accepted")},
    "test_refused": {EMPTY: ("changed",)},
    "test_strict": {**TAKEN, REFUSAL: ("changed",), EMPTY: ("changed",)},
    "test_counting": {**TAKEN, REFUSAL: ("accepted", "accepted"), EMPTY: ("accepted", "accepted"), USAGE: ("clear",)},
    "test_blind_agent": {**TAKEN, REFUSAL: ("changed",), EMPTY: ("changed",), ARGUMENTS: ("clear",)},
    "test_careful_agent": {**TAKEN, REFUSAL: ("changed",), EMPTY: ("changed",)},
}

STYLES = """
import asyncio, os, signal, subprocess, sys, time, unittest
from concurrent.futures import ThreadPoolExecutor
from unittest import mock
import pytest, app

POOL = ThreadPoolExecutor(1)

@pytest.fixture(autouse=True)
def answered(aquila_script):
    aquila_script.when("count").reply("one two three")

class TestOld(unittest.TestCase):
    def test_whole(self): self.assertTrue(app.patient())
    def test_parts(self):
        for number in range(2):
            with self.subTest(number=number):
                self.assertTrue(app.patient())

def test_sleep_is_replaced(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert app.patient()

def test_sleep_is_mocked():
    with mock.patch("app.time.sleep"):
        assert app.patient()

def test_output(capsys):
    print("before")
    assert app.patient()
    assert capsys.readouterr().out == "before\\n"

@pytest.mark.parametrize("name", ["a::b", "[x]"])
def test_parameters(name): assert app.patient()
def test_pool(): assert POOL.submit(app.patient).result()
def test_pool_again(): assert POOL.submit(app.patient).result()
def test_thread(): assert app.littering("thread")
def test_socket(): assert app.littering("socket")
def test_holding(): assert app.holding()
def test_task():
    loop = asyncio.new_event_loop()

    async def run():
        if "error" in app.littering("nothing"):
            app.kept.append(asyncio.ensure_future(asyncio.Event().wait()))

    loop.run_until_complete(run())
    loop.close()

def test_exit():
    if app.post([{"role": "user", "content": "count"}]).status_code == 401:
        os._exit(3)

def test_killed():
    if app.post([{"role": "user", "content": "count"}]).status_code == 401:
        os.kill(os.getpid(), signal.SIGKILL)

def test_elsewhere():
    program = "import app; print(app.trusting())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).stdout == b"one two three\\n"

@pytest.mark.xfail
def test_expected_to_fail(): assert not app.patient()

@pytest.mark.skip
def test_skipped(): app.patient()
"""

ALONE = ("-p", "no:xdist", "-s")
RATE, WRONG_KEY = "rate_limit(retry_after=30.0)", "unauthorized"
STYLE_VERDICTS: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    **dict.fromkeys(
        (
            "TestOld::test_whole",
            "TestOld::test_parts",
            "test_sleep_is_replaced",
            "test_sleep_is_mocked",
            "test_output",
            "test_parameters[a::b]",
            "test_parameters[[x]]",
            "test_pool",
            "test_pool_again",
        ),
        (("held",), ("clear",)),
    ),
    "test_thread": (("leaks", "leaks"), ("leaks", "leaks")),
    "test_socket": (("leaks", "leaks"), ("leaks", "leaks")),
    "test_task": (("leaks", "leaks"), ("leaks", "leaks")),
    "test_holding": (("clear",), ("clear",)),
    "test_exit": (("accepted", "accepted"), ("clear",)),
    "test_killed": (("accepted", "accepted"), None),
}


def run(folder: Path, tests: str, *arguments: str) -> tuple[int, str, dict[tuple[str, str], tuple[str, ...]]]:
    """Run the tests under faults. Return the exit code, the output, and the verdicts with their findings."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "app.py").write_text(textwrap.dedent(APP))
    (folder / "test_app.py").write_text(textwrap.dedent(tests))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--aquila-faults-json=report.json", *arguments]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout, read_verdicts(folder)


@pytest.mark.slow
def test_programs_are_judged_by_what_they_notice_in_an_answer(tmp_path: Path) -> None:
    faults = (*WITHOUT_TOOLS, ARGUMENTS, TOOL, ID)
    code, output, said = run(tmp_path, CONTENTS, "-p", "no:xdist", f"--aquila-faults={','.join(faults)}")
    assert said == {
        (test, fault): verdicts.get(fault, ("held",))
        for test, verdicts in VERDICTS.items()
        for fault in (faults if "agent" in test else WITHOUT_TOOLS)
    }, output
    assert (code, "; not applicable: 18 faults" in output) == (1, True), output


@pytest.mark.long(20)
@pytest.mark.parametrize("options", nightly_but([ALONE], [ALONE, ("-n2",)]), ids=["alone", "xdist"])
def test_tests_in_all_styles_are_judged_alike(options: tuple[str, ...], tmp_path: Path) -> None:
    code, output, said = run(tmp_path, STYLES, f"--aquila-faults={RATE},{WRONG_KEY}", *options)
    expected = {}
    for test, (after_rate, after_key) in STYLE_VERDICTS.items():
        expected[test, RATE] = after_rate
        if after_key is not None:
            expected[test, WRONG_KEY] = after_key
    assert said == expected, output
    assert code == 1
    assert "passed, 1 skipped, 1 xfailed" in output, output
    assert "test_elsewhere: not run under faults: its requests come from other processes" in output
    assert "test_killed: not run under faults: under unauthorized: its process was ended by SIGKILL" in output


@pytest.mark.slow
def test_a_run_under_a_fault_leaves_no_temporary_files(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    pytester.makepyfile(
        """
        import openai

        def test_it(aquila_script):
            aquila_script.reply("a")
            messages = [{"role": "user", "content": "hi"}]
            answer = openai.OpenAI().chat.completions.create(model="m", messages=messages)
            assert answer.choices[0].message.content == "a"
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--aquila-faults=server_error,garbage")
    result.stdout.fnmatch_lines(["2 runs of 1 test: *"])
    assert not [each.name for each in temporary.glob("aquila-*")]


@pytest.mark.slow
def test_blocks_in_the_child_of_an_attempt_do_not_count_in_the_summary(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import subprocess, sys
        import aquila

        CODE = '''
        import aquila
        from aquila.testing import use_script
        with use_script() as script:
            script.reply("b")
            aquila.ask("Hi")
        '''

        def test_it(aquila_script):
            aquila_script.reply("a")
            try:
                aquila.ask("Hello", max_retries=0)
            except aquila.errors.ProviderError as error:
                print(error)
            subprocess.run([sys.executable, "-c", CODE], check=True)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "--aquila-faults=server_error")
    result.stdout.fnmatch_lines(["1 run of 1 test: *", "aquila: *, 2 scripted"])
