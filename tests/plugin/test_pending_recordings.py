"""Recordings that wait beside their cassettes are seen: at a miss, in the last lines of a run, and in a review."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import pytest

from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_at_origin
from aquila.cassettes.model import Cassette, Interaction, RecordedResponse
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.cli import main
from aquila.recording.storing import interrupted_runs
from tests.plugin.conftest import Project

TEST = """
@pytest.mark.parametrize("word", ["a b"])
def test_it(aquila_cassette, word):
    assert (post("one"), post(word)) == (1, 2)
"""


def test_a_miss_names_the_pending_file_its_recordings_and_the_command_that_stores_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.record(tests=TEST)
    changed = TEST.replace("post(word)", "post(word + '!')").replace("(1, 2)", "(1, 3)")
    project.record(tests=changed + "    assert False\n")
    result = project.run(tests=changed)
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert re.search(r"test_it\S+.pending.yaml waits to be accepted:", output)
    assert re.search(r"2 recordings, (?:just recorded|\d+ minutes? old)", output)
    assert "It answers this request. To store it:" in output
    assert "aquila: 1 replayed, 0 recorded, 1 missed, 1 pending" in output
    assert output.count("recordings of an earlier run wait: cassettes/test_app/test_it") == 1
    (command,) = {line.strip("E ") for line in output.splitlines() if line.lstrip("E ").startswith("aquila cassettes")}
    assert f"pending.yaml: {command}" in output
    monkeypatch.chdir(project.pytester.path)
    assert main(shlex.split(command)[1:]) == 0
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("aquila: *pending*")


def test_what_a_test_had_not_asked_for_when_it_failed_is_not_lost_when_its_recordings_are_accepted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = "def test_it(aquila_cassette):\n    for word in 'abc':\n        post(word)\n"
    project.record(tests=tests)
    project.run("--aquila-record=all", tests=tests + "        assert word == 'b'\n").assert_outcomes(failed=1)
    monkeypatch.chdir(project.pytester.path)
    assert main(["cassettes", "accept", "test_app/test_it"]) == 0
    project.run(tests=tests).assert_outcomes(passed=1)


def test_a_miss_does_not_advise_a_pending_file_that_answers_no_further_request(project: Project) -> None:
    tests = "def test_it(aquila_cassette):\n    post('one')\n"
    project.record(tests=tests)
    project.record("--aquila-record=pending", tests=tests)
    result = project.run(tests=tests + "    post('one')\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*It does not answer this request.*"])


@pytest.mark.parametrize("is_answered_first", [False, True])
def test_a_test_to_which_nothing_has_answered_leaves_nothing_beside_its_cassette(
    project: Project, *, is_answered_first: bool
) -> None:
    handle = "return httpx2.Response(200, json={'answer': 1})" if is_answered_first else "pass"
    unreachable = f"""
        import httpx2

        def handle(request):
            if b"one" in request.content:
                {handle}
            raise httpx2.ConnectError("[Errno 111] Connection refused")

        def transport():
            return httpx2.MockTransport(handle)
    """
    project.pytester.makepyfile(**{project.module: unreachable})
    result = project.run("--aquila-record", tests=TEST)
    result.assert_outcomes(failed=1)
    assert ("1 pending" in result.stdout.str()) == is_answered_first
    assert bool([*project.cassettes.rglob("*.yaml")]) == is_answered_first


def test_accepting_keeps_what_a_shared_cassette_got_between_two_failing_tests(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = """
    @pytest.mark.aquila("shared")
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_it(n):
        post(str(n))
        assert n == 2
    """
    project.record(tests=tests).assert_outcomes(passed=1, failed=2)
    monkeypatch.chdir(project.pytester.path)
    assert main(["cassettes", "accept", "shared"]) == 0
    assert len(load_cassette(project.cassettes / "shared.yaml").interactions) == 3


def test_an_answer_that_the_teardown_of_a_failed_test_has_closed_is_not_kept(project: Project) -> None:
    tests = """
        @pytest.fixture
        def answer(aquila_cassette):
            with (
                aquila.http_client() as http,
                http.stream("POST", "https://provider.example/v1/x", json={"prompt": "one"}) as response,
            ):
                yield response

        def test_it(answer):
            assert not answer
        """
    project.record(tests=tests).assert_outcomes(failed=1)
    assert len(project.calls) == 1
    assert project.cassette_names == set()


def test_a_pending_recording_of_another_request_is_not_said_to_answer(project: Project) -> None:
    project.record(tests=TEST + "    assert False\n")
    output = project.run(tests=TEST.replace("word)) ==", "'else')) ==").replace('post("one")', "1")).stdout.str()
    assert "It does not answer this request. To store it all the same:" in output
    (path,) = (project.cassettes / "test_app").glob("*.pending.yaml")
    path.write_text("aquila: 1\ninteractions: {\n")
    assert "waits to be accepted, and cannot be read." in project.run().stdout.str()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("path", "says"), [("chat/completions", "It answers this"), ("x", "It does not answer this")])
def test_a_pending_recording_answers_for_another_host_where_a_cassette_does(
    project: Project, path: str, says: str
) -> None:
    app = project.pytester.path / "app.py"
    app.write_text(app.read_text().replace("v1/x", f"v1/{path}"))
    tests = "def test_it(aquila_cassette):\n    post('one')\n    assert False\n"
    project.record(tests=tests)
    app.write_text(app.read_text().replace("provider.example", "other.example"))
    output = project.run(tests=tests).stdout.str()
    assert f"{says} request. To store it" in output


def test_a_pending_failure_is_not_said_to_answer(project: Project) -> None:
    project.record(tests=TEST + "    assert False\n")
    (path,) = (project.cassettes / "test_app").glob("*.pending.yaml")
    path.write_text(path.read_text().replace("status: 200", "status: 401"))
    output = project.run().stdout.str()
    assert "It has only a failure for this request (401). To store it all the same:" in output


def contents(project: Project) -> dict[str, bytes]:
    """What the cassettes answer, by the names of their files."""
    return {
        path.relative_to(project.cassettes).as_posix(): b" ".join(
            row.response.body[:11] for row in load_cassette(path).interactions
        )
        for path in sorted(project.cassettes.rglob("*.yaml"))
    }


@pytest.mark.slow
def test_a_run_for_a_review_records_everything_beside_the_cassettes_and_replaces_nothing(project: Project) -> None:
    tests = """
    def test_own(aquila_cassette):
        post("one"), post("two")

    @pytest.mark.aquila("shared")
    def test_a():
        post("a")

    @pytest.mark.aquila("shared")
    def test_b():
        post("b")
        pytest.skip("not today")
    """
    project.record("-p", "no:randomly", tests=tests)
    stored = {"shared.yaml": b'{"answer":3 {"answer":4', "test_app/test_own.yaml": b'{"answer":1 {"answer":2'}
    assert contents(project) == stored
    new = "\n    def test_new(aquila_cassette):\n        post('new')\n        assert False\n"
    changed = tests.replace(', post("two")', "") + new
    for first in (5, 9):  # the second run replaces what the first has left
        result = project.run("--aquila-record=pending", tests=changed)
        result.stdout.fnmatch_lines(["aquila: recorded for a review, beside the cassettes: *: aquila cassettes review"])
        result.stdout.fnmatch_lines(["aquila: 0 replayed, 4 recorded, 0 missed, 3 pending"])
        answers = [f'{{"answer":{first + n}'.encode()[:11] for n in range(4)]
        assert contents(project) == stored | {
            "test_app/test_own.pending.yaml": answers[0],
            "shared.pending.yaml": b" ".join(answers[1:3]),
            "test_app/test_new.pending.yaml": answers[3],
        }
    result = project.run()
    result.assert_outcomes(passed=2, skipped=1, failed=1)
    assert "test_new.pending.yaml waits to be accepted" in result.stdout.str()


def test_what_a_killed_run_for_a_review_recorded_is_kept_beside_too(project: Project) -> None:
    project.record(tests="def test_it(aquila_cassette):\n    post('one')\n")
    before = contents(project)
    request = load_cassette(project.cassettes / "test_app" / "test_it.yaml").interactions[0].request
    left = journal.Journal(project.cassettes, "0123456789abcdef")
    for number, asked in enumerate((request, replace(request, body=b"{}"))):
        rules = MatchRules()
        row = NewRecording(key_at_origin(asked, rules), 0, number, Interaction(asked, RecordedResponse(201)))
        left.append_entry(JournalEntry("test_app/test_it", "pending", "last", rules, row))
    left.close()
    assert interrupted_runs.recover_journals(project.cassettes).failures == []
    assert {name: text for name, text in contents(project).items() if "pending" not in name} == before
    kept = load_cassette(project.cassettes / "test_app" / "test_it.pending.yaml").interactions
    assert [each.response.status for each in kept] == [201, 201]


def test_new_recordings_of_a_skipped_test_or_a_killed_run_that_replace_nothing_wait_for_nobody(
    project: Project,
) -> None:
    tests = """
    @pytest.mark.aquila("shared")
    def test_one():
        post("one")

    @pytest.mark.aquila("shared")
    def test_two():
        post("two"), pytest.skip("not today")
    """
    project.record("-k", "test_one", tests=tests)
    project.run("--aquila-record=all", "-k", "test_two").assert_outcomes(skipped=1)
    request = replace(load_cassette(project.cassettes / "shared.yaml").interactions[0].request, body=b"{}")
    left, rules = journal.Journal(project.cassettes, "0123456789abcdef"), MatchRules()
    row = NewRecording(key_at_origin(request, rules), 0, 0, Interaction(request, RecordedResponse(201)))
    left.append_entry(JournalEntry("shared", "all", "last", rules, row))
    left.close()
    assert interrupted_runs.recover_journals(project.cassettes).failures == []
    assert contents(project) == {"shared.yaml": b'{"answer":1 {"answer":2 '}


@pytest.mark.parametrize(
    ("left_at", "asked", "told"),
    [
        ("https://provider.example/", "two", "which answers this request"),
        ("https://provider.example/", "three", "which does not answer this request"),
        ("https://provider.example/", "one", "which does not answer this request"),
        ("https://other.example/", "two", "which answers this request"),
    ],
)
def test_a_miss_names_what_an_interrupted_run_has_left_for_its_cassette(
    project: Project, left_at: str, asked: str, told: str
) -> None:
    project.pytester.makepyfile(
        app="""
        import aquila

        def post(prompt):
            with aquila.http_client() as http:
                url = "https://provider.example/v1/chat/completions"
                return http.post(url, json={"model": "m", "messages": [{"role": "user", "content": prompt}]}).json()
        """
    )
    tests = """
        def test_it(aquila_cassette):
            post('one')
            post('two')
        def test_other(aquila_cassette):
            post('other')
    """
    project.record(tests=tests)
    path = project.cassettes / "test_app" / "test_it.yaml"
    first, second = load_cassette(path).interactions
    path.write_bytes(YamlCodec().dumps(Cassette((first,))))
    second = first if asked == "one" else second
    url = second.request.url.replace("https://provider.example/", left_at)
    second = replace(second, request=replace(second.request, url=url))
    left = journal.Journal(project.cassettes, "0123456789abcdef")
    rules = MatchRules()
    row = NewRecording(key_at_origin(second.request, rules), 0, 0, second)
    left.append_entry(JournalEntry("test_app/test_it", "missing", "last", rules, row))
    left.close()
    result = project.run(tests=tests.replace("two", asked).replace("other')", "another')"))
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("An interrupted run has left") == 1
    told = f"*An interrupted run has left 1 recording for this cassette, {told}."
    result.stdout.fnmatch_lines([told, "*To store it:", "*  aquila cassettes accept"])
    if asked == "two":
        calls = project.calls
        assert main(["cassettes", "accept", "--yes"]) == 0
        project.run("-k", "test_it").assert_outcomes(passed=1, deselected=1)
        assert project.calls == calls


@pytest.mark.slow
def test_what_a_review_accepts_is_replayed_and_what_it_rejects_is_not(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = """
    def test_a(aquila_cassette):
        assert post("one") and post("two")

    def test_b(aquila_cassette):
        assert post("three")
    """
    project.record("-p", "no:randomly", tests=tests)
    result = project.run("--aquila-record=pending", "-p", "no:randomly", tests=tests.replace('"two"', '"second"'))
    result.stdout.fnmatch_lines(["aquila: recorded for a review, beside the cassettes: *"])
    monkeypatch.chdir(project.pytester.path)
    capsys.readouterr()
    assert main(["cassettes", "review", "--list", "--json"]) == 1
    found = {(one["cassette"], one["number"]): one for one in json.loads(capsys.readouterr().out)}
    assert found["test_app/test_a", 2]["kind"] == "prompt"
    assert found["test_app/test_a", 2]["tests"] == ["test_app.py::test_a"]
    assert main(["cassettes", "review", "--accept", "test_app/test_a:2", "--reject", "test_app/test_b"]) == 0
    project.run(tests=tests.replace('"two"', '"second"')).assert_outcomes(passed=2)
    assert [path.name for path in project.cassettes.rglob("*.pending.yaml")] == ["test_a.pending.yaml"]


@pytest.mark.parametrize("reviewed", ["one", "a changed prompt"])
def test_a_recording_run_that_replays_everything_leaves_pending_recordings(project: Project, reviewed: str) -> None:
    tests = "def test_it(aquila_cassette):\n    post('one')\n"
    project.record(tests=tests)
    project.run("--aquila-record=pending", tests=tests.replace("one", reviewed)).assert_outcomes(passed=1)
    (path,) = project.cassettes.rglob("*.pending.yaml")
    before = path.read_bytes()
    result = project.record(tests=tests)
    result.stdout.fnmatch_lines("aquila: 1 replayed, 0 recorded, 0 missed, 1 pending; *")
    assert path.read_bytes() == before


def test_a_pending_file_that_cannot_be_read_does_not_prevent_storing(project: Project) -> None:
    tests = """
    def test_it(aquila_cassette):
        post("one")
        with aquila.use_cassette("other"):
            post("two")
    """
    project.record(tests=tests)
    (project.cassettes / "test_app" / "test_it.pending.yaml").mkdir()
    project.record(tests=tests.replace("two", "three")).assert_outcomes(passed=1)
    assert len(load_cassette(project.cassettes / "other.yaml").interactions) == 2


SHARED_FIXTURE = """
@pytest.fixture(scope="module")
def known():
    assert post("one") {condition}

def test_it(aquila_cassette, known):
    assert post("two")
"""


def test_the_pending_recordings_of_a_failed_fixture_go_when_it_is_recorded(project: Project) -> None:
    project.record(tests=SHARED_FIXTURE.format(condition="> 9"))
    (left,) = project.cassettes.rglob("*.pending.yaml")
    assert left.name == "@known.pending.yaml"
    result = project.record(tests=SHARED_FIXTURE.format(condition=""))
    result.assert_outcomes(passed=1)
    assert not list(project.cassettes.rglob("*.pending.yaml"))
    told = [line for line in result.outlines if "wait" in line]
    assert told == ["aquila: recorded anew, so these recordings wait no longer: cassettes/test_app/@known.pending.yaml"]


SHARED_CASSETTE = """
@pytest.mark.aquila("shared")
@pytest.mark.parametrize("text", ["one", "two"])
def test_it(text):
    assert post(text) and text not in {failing}
"""


def test_in_the_pending_file_of_a_shared_cassette_only_the_test_that_passed_is_superseded(project: Project) -> None:
    project.record("-p", "no:randomly", tests=SHARED_CASSETTE.format(failing=["one", "two"]))
    left = project.cassettes / "shared.pending.yaml"
    first = load_cassette(left).interactions
    project.record(tests=SHARED_CASSETTE.format(failing=["two"])).assert_outcomes(passed=1, failed=1)
    stored = load_cassette(project.cassettes / "shared.yaml").interactions
    waiting = load_cassette(left).interactions
    assert stored[0] in waiting
    assert first[0] not in waiting
    project.record(tests=SHARED_CASSETTE.format(failing=[])).assert_outcomes(passed=2)
    assert not left.exists()


def test_the_pending_recording_of_another_test_in_the_same_place_stays(project: Project) -> None:
    project.record(tests=SHARED_CASSETTE.format(failing=[])).assert_outcomes(passed=2)
    project.record("--aquila-record=all", tests=SHARED_CASSETTE.format(failing=["one", "two"])).assert_outcomes(
        failed=2
    )
    left = project.cassettes / "shared.pending.yaml"
    first, second = load_cassette(left).interactions
    project.record("--aquila-record=all", "-k", "one", tests=SHARED_CASSETTE.format(failing=[])).assert_outcomes(
        passed=1
    )
    stored = load_cassette(project.cassettes / "shared.yaml").interactions
    assert load_cassette(left).interactions == (stored[0], second)
    assert first not in stored
    project.record("--aquila-record=all", "-k", "two", tests=SHARED_CASSETTE.format(failing=[])).assert_outcomes(
        passed=1
    )
    assert not left.exists()


@pytest.mark.parametrize("cassette", ["aquila_cassette", "aquila_cassette, shared"])
def test_a_run_says_that_pending_recordings_are_gone_because_they_were_recorded_anew(
    project: Project, cassette: str
) -> None:
    tests = """
        import pytest
        @pytest.fixture
        def shared(request):
            with aquila.use_cassette("shared"):
                yield
        def test_it({cassette}):
            post("{prompt}")
    """.replace("{cassette}", cassette)
    project.record(tests=tests.replace("{prompt}", "one"))
    project.record("--aquila-record=pending", tests=tests.replace("{prompt}", "two"))
    waits = {path for path in contents(project) if "pending" in path}
    assert len(waits) == 1
    shown = "aquila: recorded anew, so these recordings wait no longer: " + f"cassettes/{waits.pop()}"
    result = project.record(tests=tests.replace("{prompt}", "two"))
    result.stdout.fnmatch_lines([shown])
    assert not [path for path in contents(project) if "pending" in path]
    assert "recorded anew" not in project.record("--aquila-record=all").stdout.str()
