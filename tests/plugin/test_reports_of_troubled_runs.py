"""A report changes nothing of the run that it tells of, and tells what there is where something goes wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import Cassette, RecordedChunk
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.run_report.collecting import ExchangeCollector
from aquila.run_report.partial_files import PartialFile
from pytest_aquila.report_writing.report_guard import ReportGuard
from pytest_aquila.report_writing.written_reports import describe_command
from tests.plugin.conftest import Project
from tests.support.report_schema import read_report

REPORT = "--aquila-report=run.json"
ASK = """
        import httpx2
        def ask(text):
            content = b'{"model": "' + text + b'", "messages": []}'
            return httpx2.post("https://api.openai.com/v1/chat/completions", content=content)
"""


def test_half_a_surrogate_pair_ends_no_run(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    tests = (
        ASK
        + """
        def test_it(aquila_script):
            aquila_script.reply("x")
            ask(rb"\\ud800-model")
        """
    )
    result = project.run(REPORT, "--aquila-report=run.html", tests=tests)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert read_report(project.pytester.path)["tests"][0]["exchanges"][0]["model"] == "?-model"
    assert "?\\-model" in (tmp_path / "summary.md").read_text()
    assert (project.pytester.path / "run.html").exists()


def test_a_full_disk_fails_no_test(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 0
    write = PartialFile.write

    def fill(file: PartialFile, *args: Any) -> None:
        nonlocal lines
        lines += 1
        if lines > 2:
            assert file._file is not None
            with Path("/dev/full").open("w") as full:
                os.dup2(full.fileno(), file._file.fileno())
        write(file, *args)

    monkeypatch.setattr(PartialFile, "write", fill)
    result = project.run(REPORT, tests="def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert lines == 3  # it was not tried again
    report = read_report(project.pytester.path)
    assert [test["id"] for test in report["tests"]] == ["test_app.py::test_one"]
    assert report["notes"] == ["nothing more could be collected: No space left on device"]
    result.stdout.fnmatch_lines(["aquila: the report is not whole: nothing more could be collected: No space left*"])


def test_an_answer_that_cannot_be_read_leaves_the_other_tests_in_the_report(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in = ExchangeCollector.take_in

    def fail_once(*args: Any) -> Any:
        monkeypatch.setattr(ExchangeCollector, "take_in", take_in)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")  # a large body that was removed

    monkeypatch.setattr(ExchangeCollector, "take_in", fail_once)
    result = project.run(REPORT, "-p", "no:randomly", tests="def test_one(aquila_script): pass\ndef test_two(): pass")
    result.assert_outcomes(passed=2)
    report = read_report(project.pytester.path)
    assert [test["outcome"] for test in report["tests"]] == ["passed", "passed"]
    (note,) = report["notes"]
    assert note.startswith("something could not be noted for the report: FileNotFoundError")


def test_an_error_of_the_report_fails_no_test_and_no_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("of the report")

    with monkeypatch.context() as context:
        context.setattr("aquila.run_report.collecting.ExchangeCollector.take_in", fail)
        result = project.run(REPORT, tests="def test_it(aquila_script): pass")
    result.assert_outcomes(passed=1)
    assert read_report(project.pytester.path)["notes"] == [
        "something could not be noted for the report: RuntimeError: of the report"
    ]
    monkeypatch.setattr("pytest_aquila.report_writing.written_reports.join_parts", fail)
    result = project.run(REPORT)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["aquila: run.json: the report was not written: RuntimeError: of the report;*"])


def test_what_was_collected_stays_if_the_report_cannot_be_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pytest_aquila.report_writing.written_reports.write_report", fail)
    result = project.run(REPORT, tests="def test_it(): pass")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*not written: No space left on device; what was collected is in run.json.partial"])
    assert "test_app.py::test_it" in (project.pytester.path / "run.json.partial").read_text()


def test_a_recording_without_its_body_is_told_as_one(project: Project) -> None:
    project.record(tests="def test_it(aquila_cassette): post('x')").assert_outcomes(passed=1)
    (path,) = project.cassettes.rglob("*.yaml")
    recorded = load_cassette(path).interactions[0]
    others = [replace(recorded, request=replace(recorded.request, body=b'{"prompt": "%d"}' % each)) for each in (1, 2)]
    large = replace(recorded.response, chunks=(RecordedChunk(b"y" * 300_000, 1),))
    others[0] = replace(others[0], response=large, upstream="")
    save_cassette(path, Cassette.from_interactions([recorded, *others]))
    (bodies,) = project.cassettes.rglob("@bodies")
    shutil.rmtree(bodies)
    project.run(REPORT).assert_outcomes(passed=1)
    _, broken, whole = read_report(project.pytester.path)["tests"][0]["exchanges"]
    assert (broken["states"], broken["number"], broken["host"]) == (["unplayed"], 2, "provider.example")
    assert "could not be read" in broken["error"]
    assert json.loads(whole["request_body"]) == {"prompt": "2"}


def test_a_large_recording_is_not_searched_again_for_secrets(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.record(tests="def test_it(aquila_cassette): post('x')").assert_outcomes(passed=1)
    (path,) = project.cassettes.rglob("*.yaml")
    recorded = load_cassette(path).interactions[0]
    large = replace(recorded.response, chunks=(RecordedChunk(b"y" * 300_000, 1),))
    other = replace(recorded, request=replace(recorded.request, body=b'{"prompt":"z"}'), response=large)
    save_cassette(path, Cassette.from_interactions([recorded, other]))
    searched: list[type] = []
    redact = Redactor.redact_response
    monkeypatch.setattr(
        Redactor,
        "redact_response",
        lambda self, response, *more, **named: (
            searched.append(type(response.chunks)) or redact(self, response, *more, **named)  # type: ignore[func-returns-value]
        ),
    )
    project.run(REPORT).assert_outcomes(passed=1)
    assert read_report(project.pytester.path)["tests"][0]["exchanges"][1]["response_body"]["size"] == 300_000
    assert StoredChunks not in searched


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("KeyboardInterrupt", "interrupted by Ctrl-C"),
        ("type('Interrupted', (KeyboardInterrupt,), {})('<gw1> ended')", "<gw1> ended"),  # as by pytest-xdist
    ],
    ids=["Ctrl-C", "plugin"],
)
def test_what_an_interrupted_test_had_asked_is_told(raised: str, told: str, project: Project) -> None:
    tests = (
        ASK
        + """
        def test_it(aquila_script):
            aquila_script.reply("x")
            ask(b"m")
            raise RAISED
        """
    )
    project.pytester.makepyfile(test_app=tests.replace("RAISED", raised))
    project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", REPORT)
    report = read_report(project.pytester.path)
    assert report["interrupted"] == told
    assert [exchange["states"] for exchange in report["tests"][0]["exchanges"]] == [["scripted"]]


@pytest.mark.slow
def test_what_an_interrupted_test_was_never_answered_is_not_recorded(project: Project) -> None:
    project.pytester.makepyfile(
        answers="""
        import httpx2
        def handle(request):
            if b"first" not in request.content:
                raise KeyboardInterrupt
            return httpx2.Response(200, json={"answer": 1})
        def transport():
            return httpx2.MockTransport(handle)
        """,
        test_app="""
        from app import post
        def test_it(aquila_cassette):
            post("first")
            post("second")
        """,
    )
    upstream = "--aquila-upstream=answers:transport"
    project.pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", REPORT, "--aquila-record", upstream
    )
    report = read_report(project.pytester.path)
    first, second = report["tests"][0]["exchanges"]
    assert [first["states"], second["states"]] == [["recorded"], ["live"]]
    assert "the answer was not stored" in second["error"]
    assert [report["totals"][each] for each in ("recorded", "live", "requests")] == [1, 1, 2]


def test_what_a_failed_test_had_not_read_is_not_told_as_recorded(project: Project) -> None:
    project.pytester.makepyfile(
        answers="""
        import httpx2
        def transport():
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json={"answer": 1}))
        """
    )
    tests = """
        import httpx2
        from app import post
        def test_it(aquila_cassette):
            post("first")
            client = httpx2.Client()
            client.send(client.build_request("POST", "https://api.openai.com/v1/x", json={"model": "m"}), stream=True)
            assert 0
        """
    result = project.run(REPORT, "--aquila-record", "--aquila-upstream=answers:transport", tests=tests)
    result.assert_outcomes(failed=1)
    first, second = read_report(project.pytester.path)["tests"][0]["exchanges"]
    assert [first["states"], second["states"]] == [["recorded", "pending"], ["live"]]
    assert second["error"] == "the test failed before the answer was read, so the answer was not stored"


def test_an_error_while_tests_are_collected_is_told(project: Project) -> None:
    project.run(REPORT, tests="raise ValueError('too early')")
    report = read_report(project.pytester.path)
    assert report["interrupted"] == "1 error during collection"
    assert report["notes"] == ["test_app.py could not be collected: ValueError: too early"]


@pytest.mark.slow
def test_workers_tell_apart_what_each_of_them_ran(project: Project) -> None:
    project.pytester.makepyfile(
        test_app="""
        import os
        def test_it():
            assert os.environ["PYTEST_XDIST_WORKER"] == "gw0"
        """,
        test_other="raise ValueError('too early')",
    )
    arguments = ("-p", "no:cacheprovider", "--dist=each", "--tx=2*popen", REPORT)
    project.pytester.runpytest_subprocess(*arguments, "--continue-on-collection-errors")
    report = read_report(project.pytester.path)
    assert sorted(test["outcome"] for test in report["tests"]) == ["failed", "passed"]
    assert len({test["identity"] for test in report["tests"]}) == 2
    assert report["notes"] == ["test_other.py could not be collected: ValueError: too early"]


def test_a_request_in_a_shared_block_is_told_of_the_test_that_made_it(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="module", autouse=True)
        def block():
            with aquila.use_cassette("block"):
                yield

        def test_one():
            post("one")

        def test_two():
            with pytest.raises(BaseException):
                post("{}")

        def test_three():
            pass
        """
    project.record(tests=tests.format("two").replace("with pytest.raises(BaseException):", "if True:"))
    project.run(REPORT, tests=tests.format("other"))
    told = [
        [exchange["states"][0] for exchange in test["exchanges"]]
        for test in read_report(project.pytester.path)["tests"]
    ]
    assert told == [["replayed"], ["missed"], []]


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="older ones have no subtests")
def test_a_test_with_a_skipped_subtest_is_reported_as_passed(project: Project) -> None:
    tests = """
        def test_it(subtests):
            with subtests.test("one"):
                pytest.skip("not here")
        """
    project.run(REPORT, tests=tests)
    assert read_report(project.pytester.path)["tests"][0]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--api-key", "abc", "tests"], "pytest --api-key [redacted] tests"),
        (["--token=a b"], "pytest '--token=[redacted]'"),
        (["-o", "openai_api_key=abc", "-oPASSWORD=x"], "pytest -o 'openai_api_key=[redacted]' '-oPASSWORD=[redacted]'"),
        (
            ["-k", "key", "test_key.py::test_it[a=b]", "--aquila-record"],
            "pytest -k key 'test_key.py::test_it[a=b]' --aquila-record",
        ),
    ],
)
def test_a_command_is_shown_without_its_secrets(given: list[str], shown: str) -> None:
    assert describe_command(given).replace("'[redacted]'", "[redacted]") == shown


class NoticedLock:
    """A lock that sets an event before it is taken."""

    def __init__(self, lock: threading.RLock, asked: threading.Event) -> None:
        self._lock, self._asked = lock, asked

    def __enter__(self) -> None:
        self._asked.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_one_thread_at_a_time_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, begun, is_there, goes_on = ReportGuard(), threading.Event(), threading.Event(), threading.Event()
    seen: list[str] = []

    def collect() -> None:
        seen.append("begins")
        begun.set()
        goes_on.wait(60)
        seen.append("ends")

    def collect_second() -> None:
        seen.append("second")
        is_there.set()  # before the first has ended, if there is no lock

    first = threading.Thread(target=guard.attempt, args=(collect,))
    first.start()
    assert begun.wait(60)
    monkeypatch.setattr(guard, "_lock", NoticedLock(guard._lock, is_there))
    second = threading.Thread(target=guard.attempt, args=(collect_second,))
    second.start()
    assert is_there.wait(60)
    goes_on.set()
    first.join()
    second.join()
    assert seen == ["begins", "ends", "second"]
