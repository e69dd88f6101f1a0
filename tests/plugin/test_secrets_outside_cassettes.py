"""A secret shows in no name, report, log or line: only what a user's own code prints without Aquila is its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_aquila.report_redaction import redact_report
from tests.plugin.conftest import Project
from tests.support.slow import slow_but

KEY = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"
OTHER = "m4Wd8sQx2LpTv7Kc9YrB3nGh5JfZ6aEo"


@pytest.fixture
def machine(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on a machine with two keys of no known shape."""
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    monkeypatch.setenv("OTHER_API_KEY", OTHER)
    return project


def everything(machine: Project, result: pytest.RunResult) -> str:
    """All that a run has left: what it printed, the names of its files, and what is in them."""
    files = [path for path in machine.pytester.path.rglob("*") if path.suffix not in (".py", ".pyc")]
    files = [path for path in files if path != machine.calls_file]  # what the provider has got
    texts = [path.read_bytes().decode(errors="replace") for path in files if path.is_file()]
    return "\n".join([*result.outlines, *result.errlines, *map(str, files), *texts])


def run(machine: Project, tests: str, *arguments: str, record: bool = False) -> str:
    reports = ("--junitxml=junit.xml", "-o", "junit_logging=all", "-vv", "-rA", "--tb=long", "--showlocals")
    result = (machine.record if record else machine.run)(*reports, *arguments, tests=tests)
    return everything(machine, result)


PARAMETRIZED = """
    import os

    @pytest.mark.parametrize("key", [os.environ["MISTRAL_API_KEY"], os.environ["OTHER_API_KEY"]])
    def test_it(aquila_cassette, key):
        assert post("hi " + key)
    """


def test_a_parameter_that_is_a_key_is_in_no_name(machine: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.record(tests=PARAMETRIZED).assert_outcomes(passed=2)
    recorded = sorted(path.name for path in machine.cassettes.rglob("*.yaml"))
    assert sorted(name.partition("+")[0] for name in recorded) == ["test_it-redacted-0", "test_it-redacted-1"]
    monkeypatch.setenv("MISTRAL_API_KEY", "another-KEY-9f8e7d6c5b4a39281706")  # keys are rotated
    left = run(machine, PARAMETRIZED)
    assert "2 replayed" in left
    assert KEY not in left
    assert OTHER not in left


def test_what_records_a_test_whose_parameter_looks_like_a_secret_names_it_by_its_function(project: Project) -> None:
    tests = """
        @pytest.mark.parametrize("address", ["https://user:s3cr3t-pass@example.com/", "plain"])
        def test_it(aquila_cassette, address):
            assert post("hi")
        """
    said = [line.strip(" E") for line in project.run(tests=tests).outlines]
    assert "pytest test_app.py::test_it --aquila-record" in said
    assert "pytest 'test_app.py::test_it[plain]' --aquila-record" in said
    assert not [line for line in said if line.startswith("pytest") and "redacted" in line]


def test_an_id_that_a_test_gives_itself_names_no_file_by_a_key(machine: Project) -> None:
    tests = PARAMETRIZED.replace("])\n", "], ids=str)\n")
    machine.record(tests=tests).assert_outcomes(passed=2)
    recorded = [str(path) for path in machine.cassettes.rglob("*.yaml")]
    assert len(recorded) == 2
    assert not any(key in name for key in (KEY, OTHER) for name in recorded)


SET_BY_FIXTURE = """
        @pytest.fixture(scope="module")
        def key():
            with mock.patch.dict(os.environ, {"SERVICE_KEY": os.environ["TO_BE_USED"]}):
                return os.environ["SERVICE_KEY"]
"""
SET_BY_IMPORT = """
        with mock.patch.dict(os.environ, {"SERVICE_KEY": os.environ["TO_BE_USED"]}):
            KEY = os.environ["SERVICE_KEY"]

        @pytest.fixture
        def key():
            return KEY
"""


@pytest.mark.parametrize("setting", [SET_BY_FIXTURE, SET_BY_IMPORT])
def test_a_key_that_tests_share_is_known_to_all_though_it_was_set_for_a_moment(
    setting: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = f"""
        import os
        from unittest import mock
        {setting}
        @pytest.mark.parametrize("n", [1, 2])
        def test_it(aquila_cassette, key, n):
            print("using", key)
            assert post("hi " + key)
        """
    monkeypatch.setenv("TO_BE_USED", KEY)
    recorded = run(project, tests, record=True)
    assert "2 recorded" in recorded
    assert KEY not in recorded
    monkeypatch.setenv("TO_BE_USED", OTHER)
    again = run(project, tests, "-k", "2")  # alone
    assert "1 replayed" in again
    assert OTHER not in again


def test_a_fixture_that_tests_share_is_not_named_by_a_key(machine: Project) -> None:
    tests = """
        import os

        @pytest.fixture(scope="module", params=[os.environ["MISTRAL_API_KEY"], os.environ["OTHER_API_KEY"]])
        def answer(request):
            return post("hi " + request.param)

        def test_it(answer):
            assert answer
        """
    machine.record(tests=tests).assert_outcomes(passed=2)
    recorded = [str(path) for path in machine.cassettes.rglob("*.yaml")]
    assert len(recorded) == 2
    assert not any(key in name for key in (KEY, OTHER) for name in recorded)
    left = run(machine, tests)
    assert "2 replayed" in left
    assert KEY not in left


FAILURES = """
    import logging, pathlib

    # The key is read where a library would: from a file, because a replay has a dummy in the environment.
    KEY = pathlib.Path("key.txt").read_text()
    LINES = "-----BEGIN PRIVATE KEY-----", KEY[::-1] * 2, KEY[::-1] * 2, "-----END PRIVATE KEY-----"

    def test_miss(aquila_cassette):
        post("changed " + KEY)

    def test_miss_of_a_url(aquila_cassette):
        with aquila.http_client() as http:
            http.post(f"https://provider.example/{KEY}/x?who={KEY}")

    def test_refusal():
        import httpx2
        httpx2.post(f"https://api.mistral.ai/{KEY}/v1/chat/completions")

    def test_assertion(aquila_cassette):
        post("hi")
        assert KEY == "x"

    def test_cause_and_notes(aquila_cassette):
        post("hi")
        error = ValueError(KEY)
        error.add_note(f"note {KEY}")
        error.add_note("\\n".join(LINES))
        raise RuntimeError(f"bad {KEY}") from error

    def test_error_within_the_client(aquila_cassette):
        with aquila.http_client() as http:
            http.post("https://provider.example/v1/x", content=object(), headers={"x-api-key": KEY})

    def ask(key, padding):
        import requests
        requests.post("https://api.mistral.ai/v1/chat/completions", json={"use": KEY}, timeout=1)

    def test_shortened_argument(aquila_cassette):
        ask({"a": "x" * 100, "key": KEY, "b": "x" * 100}, None)

    def test_print(aquila_cassette):
        print("printed", KEY)
        post("hi")
        assert False

    def test_log(aquila_cassette):
        logging.getLogger("app").error("logged %s", KEY)
        post("hi")
        assert False

    def test_group(aquila_cassette):
        post("hi")
        raise ExceptionGroup(KEY, [ValueError(KEY), OSError(1, KEY)])
"""


def test_the_report_of_a_failed_test_shows_no_key(machine: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine.pytester.path)
    names = re.findall(r"def (test_\w+)", FAILURES)
    machine.record(
        tests="".join(f'\n    def {name}(aquila_cassette):\n        post("hi")\n' for name in names)
    ).assert_outcomes(passed=10)
    machine.pytester.makefile(".txt", key=KEY)
    left = run(machine, FAILURES)
    assert "10 failed" in left
    for word in ("printed", "logged"):
        assert f"{word} [redacted]" in left
    for part in (KEY[:8], KEY[-8:]):
        assert left.count(part) == 1  # in the file
    assert KEY[::-1] not in left


def test_a_report_of_drift_shows_no_key(machine: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine.pytester.path)
    machine.record(
        tests="".join(
            f'\n    def {name}(aquila_cassette):\n        post("hi")\n' for name in ("test_miss", "test_miss_of_a_url")
        )
    ).assert_outcomes(passed=2)
    machine.pytester.makefile(".txt", key=KEY)
    left = run(machine, FAILURES, "-k", "miss", "--aquila-drift=drift.json")
    report = (machine.pytester.path / "drift.json").read_text()
    assert "now 'changed [redacted]'" in report
    assert "https://provider.example/%5Bredacted%5D/x" in report
    for part in (KEY[:8], KEY[-8:]):
        assert left.count(part) == 1  # in the file


def test_a_value_that_nothing_marks_as_a_key_is_not_shown_in_the_frames_of_aquila(machine: Project) -> None:
    tests = """
        def test_it(aquila_script):
            aquila_script.reply("".join(["uTx8", "Qm4v", "Zk2b", "Ws9d"]), finish="lenght")
        """
    left = run(machine, tests, "--full-trace")
    assert "ConfigError: finish='lenght'" in left
    assert "uTx8Qm4vZk2bWs9d" not in left


def test_a_rule_that_raises_hides_the_text_of_a_report_and_the_run_goes_on(machine: Project) -> None:
    tests = f"""
        from aquila.hookspecs import hookimpl

        class Rule:
            @hookimpl
            def aquila_redactors(self):
                return [lambda text: 1 / ("broken" not in text) and text]

        @pytest.fixture(autouse=True)
        def rule():
            plugin = aquila.register(Rule())
            yield
            aquila.unregister(plugin)

        def test_it(aquila_cassette):
            post("hi")
            raise LookupError("broken {KEY}")

        def test_other(aquila_cassette):
            assert post("hello")
        """
    result = machine.record(tests=tests)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*<not shown, because a rule of aquila_redactors raised ZeroDivisionError>*"])
    assert KEY not in everything(machine, result)


def test_the_report_of_a_module_that_fails_at_import_shows_no_key(machine: Project) -> None:
    left = run(machine, '\n    import os\n    raise RuntimeError("bad " + os.environ["MISTRAL_API_KEY"])\n')
    assert "bad [redacted]" in left
    assert KEY not in left


@pytest.mark.parametrize("arguments", [(), (f"--aquila-record={KEY}",), ("-o", f"aquila_max_age={OTHER}")])
def test_a_wrong_setting_that_is_a_key_is_not_shown(
    arguments: tuple[str, ...], machine: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_TIMEOUT", KEY)
    left = everything(machine, machine.run(*arguments, tests="def test_it(): pass"))
    assert "[redacted]" in left
    assert KEY not in left
    assert OTHER not in left


def test_the_report_of_a_run_that_a_test_ends_shows_no_key_of_its_reason(machine: Project) -> None:
    tests = """
        import os

        def test_it(aquila_cassette):
            pytest.exit("bad " + os.environ["OTHER_API_KEY"])
        """
    machine.run("--aquila-report=run.json", tests=tests)
    report = json.loads((machine.pytester.path / "run.json").read_text())
    assert report["interrupted"] == "pytest.exit: bad [redacted]"


def test_a_teardown_that_prints_a_key_after_a_test_without_requests_does_not_show_it(machine: Project) -> None:
    tests = """
        import os

        @pytest.fixture
        def end():
            yield
            print("teardown", os.environ["OTHER_API_KEY"])

        def test_it(end, aquila_script):
            pass
        """
    left = run(machine, tests)
    assert "teardown [redacted]" in left
    assert OTHER not in left


WORDS = """
    import gc, os, threading, warnings
    GIVEN = "-".join(["correct", "horse", "battery"])
    KEY = os.environ["OTHER_API_KEY"] + " " + GIVEN

    def post(prompt):
        with aquila.http_client() as http:
            http.post("https://provider.example/v1/x", json={"prompt": prompt}, headers={"x-api-key": GIVEN})

    def test_warning(aquila_cassette):
        post("hi")
        warnings.warn("word 1 " + KEY)
        warnings.warn("word 7 " + GIVEN)

    def test_exception_of_a_thread(aquila_cassette):
        post("hi")
        thread = threading.Thread(target=lambda: int("word 2 " + KEY))
        thread.start()
        thread.join()

    def test_exception_that_nobody_can_catch(aquila_cassette):
        post("hi")
        type("X", (), {"__del__": lambda self: int("word 3 " + KEY)})()
        gc.collect()

    def test_property(aquila_cassette, record_property):
        post("hi")
        print("word 6", KEY)
        record_property("word", "word 4 " + KEY)

    def test_expected_failure(aquila_cassette):
        post("hi")
        pytest.xfail("word 5 " + KEY)
"""


@pytest.mark.parametrize("workers", slow_but([()], [(), ("-p", "xdist", "-n", "1")]), ids=["one process", "a worker"])
def test_what_pytest_says_of_a_passing_test_shows_no_key(workers: tuple[str, ...], machine: Project) -> None:
    left = run(machine, WORDS, "-W", "default", "-o", "junit_family=xunit1", *workers, record=True)
    assert "4 passed, 1 xfailed" in left
    for number in range(1, 8):
        assert f"word {number} " in left
    assert OTHER not in left
    assert "correct-horse-battery" not in left


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="older ones have no subtests")
def test_a_subtest_shows_no_key_in_its_name_or_its_output(machine: Project) -> None:
    tests = """
        import logging, os, unittest
        KEY = os.environ["OTHER_API_KEY"]

        def test_it(aquila_cassette, subtests):
            with subtests.test("word 1 " + KEY, value="word 2 " + KEY):
                post("hi")
            with subtests.test("word 3 " + KEY):
                print("word 4", KEY)
                logging.getLogger("app").warning("word 5 %s", KEY)
                assert False, "word 6 " + KEY

        @pytest.mark.usefixtures("aquila_cassette")
        class Test(unittest.TestCase):
            def test_it(self):
                post("hi")
                with self.subTest("word 7 " + KEY, value="word 8 " + KEY):
                    self.fail("word 9 " + KEY)
        """
    left = run(machine, tests, record=True)
    for number in range(1, 10):
        assert f"word {number} " in left
    assert OTHER not in left


@pytest.mark.parametrize("context", ["of a conftest", SimpleNamespace(msg=None, kwargs={"a": [{"b": KEY}], "c": 3})])
def test_a_subtest_shows_no_key_in_its_parameters_with_any_version_of_pytest(context: Any) -> None:
    """With pytest-subtests, and pytest 9.0, they are not texts yet."""
    report: Any = SimpleNamespace(longrepr=None, sections=[], context=context)
    redactor: Any = SimpleNamespace(redact_shortened_text=lambda text: text.replace(KEY, "[redacted]"))
    redact_report(report, [redactor])
    if context != "of a conftest":
        assert context.kwargs == {"a": "[{'b': '[redacted]'}]", "c": 3}


def test_properties_of_any_class_stay_as_they_are_unless_they_hold_a_key(machine: Project) -> None:
    tests = """
        import collections, os
        Point = collections.namedtuple("Point", "x y")

        def test_it(aquila_cassette, record_property, request):
            record_property("point", Point(1, "two"))
            record_property("secret point", Point(1, os.environ["OTHER_API_KEY"]))
            record_property("test", request.node)
            assert post("hi") == 1
        """
    left = run(machine, tests, "-o", "junit_family=xunit1", record=True)
    assert "1 passed" in left
    assert "Point(x=1, y='two')" in left.replace("&#39;", "'")
    assert OTHER not in left


def test_a_reason_to_fail_that_is_a_key_is_not_shown(machine: Project) -> None:
    tests = """
        import os

        @pytest.mark.xfail(reason="mind " + os.environ["OTHER_API_KEY"])
        def test_it(aquila_cassette):
            assert post("hi") == "nothing"
        """
    left = run(machine, tests, record=True)
    assert "mind [redacted]" in left
    assert OTHER not in left


LOGGING = """
    import os, logging
    import openai

    def test_it(aquila_cassette, caplog):
        caplog.set_level(logging.DEBUG, "aquila")
        with pytest.raises(aquila.errors.AquilaError) as info:
            aquila.ask("say " + os.environ["OTHER_API_KEY"], model="m", api_key="a-key-4711-of-mine",
                       base_url="https://provider.example/v1", max_retries=0)
        assert "say [redacted]" in caplog.text, repr(info.value)
    """


def test_the_content_of_the_log_holds_no_key(machine: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_LOG_CONTENT", "on")
    left = run(machine, LOGGING, record=True)
    assert "1 passed" in left
    assert OTHER not in left


REPORTED = (
    f"""
    import json
    import httpx2

    KEYS = [{KEY!r}, {OTHER!r}]
    SECRET = KEYS[0]
"""
    + """
    CHAT = "https://api.openai.com/v1/chat/completions"
    SHAPED = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"


    def chat(text, **more):
        fields = {"authorization": f"Bearer {KEYS[1]}", "x-secret": KEYS[0]}
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "key": KEYS[0], **more}
        return httpx2.post(CHAT + "?api_key=" + KEYS[1], json=body, headers=fields)


    @pytest.mark.parametrize("key", KEYS, ids=str)
    @pytest.mark.parametrize("stream", [False, True])
    def test_script(aquila_script, key, stream):
        text = f"my key is {key} and {SHAPED}"
        aquila_script.reply(text).tool_call("use", key=key, shaped=SHAPED)
        said = chat(text, stream=stream).text
        chat(f"{text} " * 20, stream=stream)
        raise RuntimeError(f"{said} {key}")

    def test_replayed(aquila_cassette):
        post("my key is " + KEYS[0], other=SHAPED)

    @pytest.mark.parametrize("key", KEYS, ids=str)
    def test_missed(aquila_cassette, key):
        post("another " + key + SHAPED)

    def test_refused():
        chat("refused " + KEYS[0])

    @pytest.mark.aquila(transport="echo:transport")
    def test_live():
        post("live " + KEYS[0] + SHAPED, authorization=KEYS[1])

    @pytest.mark.aquila(transport="echo:unreachable")
    def test_unreachable():
        post("nobody answers " + KEYS[0] + SHAPED)

    def test_socket(aquila_script):
        from websockets.sync.client import connect
        aquila_script.reply("over a socket " + KEYS[0] + SHAPED)
        with connect("wss://api.openai.com/v1/responses?api_key=" + KEYS[1]) as connection:
            connection.send(json.dumps({"type": "response.create", "model": "m", "input": "Hi " + KEYS[1]}))
            while json.loads(connection.recv(60))["type"] != "response.completed":
                pass
    """
)
SHAPED = "aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"
ECHO = """
    import httpx2

    def fail(request):
        raise httpx2.ConnectError("no route for " + request.content.decode())

    def transport():
        return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"answer": request.content.decode()}))

    def unreachable():
        return httpx2.MockTransport(fail)
"""


def test_no_report_of_a_run_shows_a_key(machine: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    machine.pytester.makepyfile(echo=ECHO)
    machine.record("-k", "replayed", tests=REPORTED).assert_outcomes(passed=1)
    names = ("run.json", "run.html", "junit.xml", "unused.json", "drift.json")
    reports = [f"--aquila-report={name}" for name in names[:2]]
    reports += ["--junitxml=junit.xml", "--aquila-orphans=unused.json", "--aquila-drift=drift.json"]
    machine.run(*reports, "--tb=long", "--showlocals", KEY)  # no such test: an error that names it
    options = ["--tb=long", "--showlocals", "-o", "junit_logging=all", f"--deselect={KEY}"]
    machine.run(*reports, *options, tests=REPORTED)
    texts = {name: (machine.pytester.path / name).read_text() for name in names} | {"summary": summary.read_text()}
    told = json.loads(texts["run.json"])["tests"]
    assert {state for test in told for state in test["states"]} == {"scripted", "replayed", "missed", "refused", "live"}
    assert [test["attempt"] for test in told] == [1] * len(told)  # although ids without their keys are equal
    # An id that a test gives itself is the test's own in what pytest writes.
    texts["junit.xml"] = re.sub(r"<testcase [^>]*>", "", texts["junit.xml"])
    for name, text in texts.items():
        for key in (KEY, OTHER, SHAPED):
            assert key not in text, f"{name}: {text[text.index(key) - 300 : text.index(key) + 100]}"
