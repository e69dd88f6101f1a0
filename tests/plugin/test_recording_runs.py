"""``pytest --aquila-record``: what is recorded, kept, dropped and left alone."""

from __future__ import annotations

import shutil

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from tests.plugin.conftest import Project
from tests.support.slow import slow_but, slow_but_each

TWO_CALLS = """
def test_it(aquila_cassette):
    assert (post("one"), post("two")) == (1, 2)
"""


def test_a_recorded_test_replays_without_reaching_the_provider(project: Project) -> None:
    project.record(tests=TWO_CALLS).assert_outcomes(passed=1)
    assert len(project.calls) == 2
    result = project.run()
    result.assert_outcomes(passed=1)
    assert len(project.calls) == 2
    result.stdout.fnmatch_lines(["aquila: 2 replayed, 0 recorded, 0 missed; saved * s and 14 tokens"])


def test_a_run_goes_on_behind_a_journal_that_it_cannot_take_over_and_names_it(project: Project) -> None:
    project.cassettes.mkdir()
    (project.cassettes / "old.yaml").write_text("aquila: 1\ninteractions: {\n")
    request, rules = RecordedRequest("POST", "https://provider.example/v1/x"), MatchRules()
    row = NewRecording(key_of(request, rules), 0, 0, Interaction(request, RecordedResponse(200)))
    left = journal.Journal(project.cassettes, "0123456789abcdef")
    left.append_entry(JournalEntry("old", "missing", "last", rules, row))
    left.close()
    for _ in range(2):
        result = project.record(tests=TWO_CALLS)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            ["aquila: recordings of an interrupted run were not taken over: *old.yaml, *.journal/0123456789abcdef*"]
        )
    assert list(journal.find_abandoned_journals(project.cassettes)) == ["0123456789abcdef"]


def test_a_stream_of_any_kind_is_recorded(project: Project) -> None:
    project.record(
        tests="""
        import httpx2

        def test_it(aquila_cassette, monkeypatch):
            body = b"data: hello\\n\\ndata: \\n\\n" * 9
            import PROVIDER
            monkeypatch.setattr(PROVIDER, "handle", lambda request: httpx2.Response(200, content=body))
            with aquila.http_client() as http:
                assert http.post("https://provider.example/v1/x").content == body
        """.replace("PROVIDER", project.module)
    ).assert_outcomes(passed=1)
    assert list((project.cassettes / ".journal").glob("*.journal")) == []


def test_the_cassette_is_named_after_the_test(project: Project) -> None:
    project.record(
        tests="""
        class TestGroup:
            @pytest.fixture(scope="class", autouse=True)
            def asked(self):
                post("asked")

            @pytest.mark.parametrize("word", ["a", "b"])
            def test_it(self, aquila_cassette, word):
                post(word)

            @pytest.mark.parametrize("word", ["one word", "One word"])
            def test_words(self, aquila_cassette, word):
                post(word)

        class Testgroup(TestGroup):  # differs in capitals alone, so that some systems have one file for both
            pass

        def test_maße(aquila_cassette):
            post("ß")

        def test_masse(aquila_cassette):
            post("ss")
        """
    )
    recorded = sorted(path.stem for path in (project.cassettes / "test_app").iterdir())
    assert len({name.casefold() for name in recorded}) == len(recorded) == 12
    assert sorted(name.partition("+")[0] for name in recorded) == [
        *(
            "TestGroup.@asked",
            "TestGroup.test_it-a",
            "TestGroup.test_it-b",
            "TestGroup.test_words-One-word",
            "TestGroup.test_words-one-word",
        ),
        *(
            "Testgroup.@asked",
            "Testgroup.test_it-a",
            "Testgroup.test_it-b",
            "Testgroup.test_words-One-word",
            "Testgroup.test_words-one-word",
        ),
        *("test_masse", "test_maße"),
    ]


def test_a_miss_names_the_difference_and_the_command_that_records_again(project: Project) -> None:
    project.record(tests=TWO_CALLS)
    result = project.run(tests=TWO_CALLS.replace("two", "zwei"))
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert "prompt" in output
    assert "zwei" in output
    assert "pytest test_app.py::test_it --aquila-record" in output
    assert len(project.calls) == 2


def test_a_miss_points_at_the_line_that_asked_and_not_at_the_way_to_the_recorder(project: Project) -> None:
    output = project.run(tests=TWO_CALLS).stdout.str()
    assert "app.py:5" in output
    assert "handle_request" not in output
    assert output.count("CassetteMiss: nothing is recorded yet in ") == 2  # the error, and the line at the end
    assert output.count("To record it") == 1
    assert "handle_request" in project.run("--full-trace").stdout.str()


def test_what_matches_is_kept_and_what_drifted_is_recorded_in_its_place(project: Project) -> None:
    three = "def test_it(aquila_cassette):\n    [post(word) for word in ('one', 'two', 'three')]\n"
    project.record(tests=three)
    (path,) = (project.cassettes / "test_app").glob("*.yaml")
    before = load_cassette(path).interactions
    result = project.record(tests=three.replace("two", "zwei"))
    result.assert_outcomes(passed=1)
    after = load_cassette(path).interactions
    assert project.calls[3:] == ['{"prompt":"zwei"}']
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1].request.body == b'{"prompt":"zwei"}'
    assert len(after) == 3


def test_everything_is_recorded_again_on_request(project: Project) -> None:
    project.record(tests="def test_it(aquila_cassette):\n    post('one'); post('one')\n")
    project.run("--aquila-record=all").assert_outcomes(passed=1)
    (path,) = (project.cassettes / "test_app").glob("*.yaml")
    assert [row.response.body[:11] for row in load_cassette(path).interactions] == [b'{"answer":3', b'{"answer":4']


def test_a_failing_test_replaces_nothing_and_its_recording_is_kept_and_named(project: Project) -> None:
    project.record(tests=TWO_CALLS)
    (path,) = (project.cassettes / "test_app").glob("*.yaml")
    before = path.read_bytes()
    result = project.run("--aquila-record=all", tests=TWO_CALLS + "    assert False\n")
    result.assert_outcomes(failed=1)
    assert path.read_bytes() == before
    pending = path.with_name("test_it.pending.yaml")
    assert len(load_cassette(pending).interactions) == 2
    result.stdout.fnmatch_lines(
        [f"aquila: *{pending.name}: aquila cassettes accept test_app/test_it", "*0 missed, 1 pending"]
    )
    project.record(tests=TWO_CALLS).assert_outcomes(passed=1)


SUBTESTS = {
    "subtests": """
        def test_it(aquila_cassette, subtests):
            post("before WORD")
            with subtests.test("part"):
                assert not FAILS
            post("after WORD")
    """,
    "unittest": """
        import unittest

        @pytest.mark.aquila
        class TestIt(unittest.TestCase):
            def test_it(self):
                post("before WORD")
                with self.subTest("part"):
                    assert not FAILS
                post("after WORD")
    """,
}


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="this pytest has no subtests")
@pytest.mark.parametrize("way", slow_but_each(2, SUBTESTS))
def test_a_test_with_a_failed_subtest_replaces_nothing_and_is_asked_for_nothing_more(
    project: Project, way: str
) -> None:
    tests = SUBTESTS[way].replace("WORD", "one").replace("FAILS", "False")
    project.record(tests=tests)
    (path,) = project.cassettes.rglob("*.yaml")
    before = path.read_bytes()
    project.record(tests=tests.replace("one", "two").replace("not False", "False"))
    assert path.read_bytes() == before
    assert len(load_cassette(path.with_suffix(".pending.yaml")).interactions) == 2
    stops = tests.replace("not False", "False").replace('post("after one")', "pass")
    result = project.run("-o", "aquila_unplayed=fail", tests=stops)
    assert result.ret == 1
    assert "not played" not in result.stdout.str()


def test_failing_tests_that_share_a_cassette_keep_the_recordings_of_both(project: Project) -> None:
    project.record(
        tests="""
        @pytest.mark.aquila("shared")
        def test_good():
            post("good")

        @pytest.mark.aquila("shared")
        def test_one():
            assert not post("one")

        @pytest.mark.aquila("shared")
        def test_two():
            assert not post("two")

        @pytest.mark.aquila("shared")
        def test_also_good():
            post("good"), post("fine")
        """
    ).assert_outcomes(passed=2, failed=2)
    stored, pending = (
        load_cassette(project.cassettes / f"shared{kind}.yaml").interactions for kind in ("", ".pending")
    )
    assert [row.request.body for row in stored] == [b'{"prompt":"good"}', b'{"prompt":"fine"}']
    # It takes the place of the cassette if it is accepted, so it holds what the tests that passed have recorded, too.
    assert [row.request.body for row in pending] == [
        b'{"prompt":"good"}',
        b'{"prompt":"fine"}',
        b'{"prompt":"one"}',
        b'{"prompt":"two"}',
    ]


def test_what_a_test_asked_before_it_skipped_is_added_and_replayed(project: Project) -> None:
    tests = """
        def test_skip(aquila_cassette):
            if post("one"):
                pytest.skip("later")

        def test_xfail(aquila_cassette):
            if post("two"):
                pytest.xfail("later")
        """
    project.record(tests=tests).assert_outcomes(skipped=1, xfailed=1)
    for _ in range(2):
        result = project.run()
        result.assert_outcomes(skipped=1, xfailed=1)
        result.stdout.fnmatch_lines(["aquila: 2 replayed, 0 recorded, 0 missed*"])
    assert len(project.calls) == 2
    assert not list(project.cassettes.rglob("*.pending.yaml"))


@pytest.mark.parametrize("mode", ["missing", "all"])
def test_a_test_that_skips_replaces_and_drops_nothing(project: Project, mode: str) -> None:
    project.record(tests=TWO_CALLS).assert_outcomes(passed=1)
    before = (project.cassettes / "test_app" / "test_it.yaml").read_text()
    tests = "def test_it(aquila_cassette):\n    post('one')\n    pytest.skip('later')\n"
    result = project.run(f"--aquila-record={mode}", tests=tests)
    result.assert_outcomes(skipped=1)
    assert (project.cassettes / "test_app" / "test_it.yaml").read_text() == before
    assert bool(list(project.cassettes.rglob("*.pending.yaml"))) == (mode == "all")


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan"])
@pytest.mark.parametrize("mode", slow_but(["all"], ["missing", "all"]))
def test_a_test_whose_body_does_not_run_keeps_its_recordings(project: Project, mode: str, option: str) -> None:
    project.record(tests=TWO_CALLS).assert_outcomes(passed=1)
    before = {path: path.read_bytes() for path in project.cassettes.rglob("*.yaml")}
    assert before
    assert project.run(f"--aquila-record={mode}", option).ret == 0
    assert {path: path.read_bytes() for path in project.cassettes.rglob("*.yaml")} == before


def test_what_a_plugin_raises_on_purpose_in_a_teardown_is_no_failed_test(project: Project) -> None:
    tests = """
        @pytest.fixture(autouse=True)
        def notice():
            yield
            pytest.fail("your snapshot was written", pytrace=False)

        def test_it(aquila_cassette):
            assert post("one") == 1
        """
    project.record(tests=tests).assert_outcomes(passed=1, errors=1)
    project.run(tests=tests.replace("pytest.fail", "str").replace(", pytrace=False", "")).assert_outcomes(passed=1)


def test_a_cassette_that_several_tests_share_is_only_added_to(project: Project) -> None:
    shared = """
    @pytest.mark.aquila("shared")
    def test_one():
        post("one")

    @pytest.mark.aquila("shared")
    def test_two():
        post("one"), post("two")
    """
    project.record(tests=shared).assert_outcomes(passed=2)
    assert project.calls == ['{"prompt":"one"}', '{"prompt":"two"}']
    project.record("-k", "test_one").assert_outcomes(passed=1)
    assert len(load_cassette(project.cassettes / "shared.yaml").interactions) == 2
    project.run().assert_outcomes(passed=2)


def test_a_test_without_a_cassette_is_told_what_to_add(project: Project) -> None:
    result = project.run(tests="def test_it():\n    post('one')\n")
    result.assert_outcomes(failed=1)
    refused = "*POST https://provider.example/v1/x was refused: *"
    result.stdout.fnmatch_lines([refused, "*test *test_app.py::test_it", "*use the fixture aquila_cassette*"])
    assert project.calls == []


def test_a_request_of_a_client_of_aquila_without_a_cassette_is_named(project: Project) -> None:
    tests = """
    import asyncio

    def test_plain():
        with aquila.http_client() as http:
            http.get("https://api.example/v1/x?key=q7Zr2mXv9KpLw4")

    def test_async():
        async def ask():
            async with aquila.async_http_client() as http:
                await http.get("https://api.example/v1/x")
        asyncio.run(ask())
    """
    result = project.run(tests=tests)
    result.assert_outcomes(failed=2)
    summary = [
        "*FAILED *::test_plain - *GET https://api.example/v1/x was *",
        "*FAILED *::test_async - *GET https://api.*",
    ]
    result.stdout.fnmatch_lines_random(summary)


@pytest.mark.parametrize("arguments", [(), ("--aquila-record",)])
def test_a_call_without_a_cassette_fails_its_test_although_the_program_swallows_that(
    arguments: tuple[str, ...], project: Project
) -> None:
    swallowed = """
    import asyncio, threading

    def swallow(call, **options):
        try:
            return call("Hi", **options)
        except Exception:
            return None

    def test_plain():
        swallow(aquila.ask)

    def test_async():
        async def ask():
            try:
                await aquila.aask("Hi")
            except Exception:
                pass
        asyncio.run(ask())

    def test_in_a_thread():
        thread = threading.Thread(target=swallow, args=[aquila.ask])
        thread.start()
        thread.join()

    def test_that_is_about_it(aquila_refusals):
        with pytest.raises(aquila.errors.LiveCallRefused):
            aquila.ask("Hi")
        assert len(aquila_refusals) == 1
        aquila_refusals.forget()

    def test_whose_call_itself_asks_for_a_replay():
        assert swallow(aquila.ask, transport="replay") is None
    """
    result = project.run(*arguments, tests=swallowed)
    result.assert_outcomes(passed=2, failed=3)
    assert project.calls == []


def test_threads_of_a_test_use_its_cassette(project: Project) -> None:
    threaded = """
    import threading

    def test_it(aquila_cassette):
        threads = [threading.Thread(target=post, args=(str(n),)) for n in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert aquila_cassette.play_count + aquila_cassette.record_count == 8
    """
    project.record(tests=threaded).assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)
    assert len(project.calls) == 8


def test_settings_come_from_the_marker_then_the_command_line_then_the_environment_then_the_ini_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = """
    from aquila.recording import scope

    def test_it(request):
        print("timing", scope.current_scope().settings.replay_timing)

    @pytest.mark.aquila(replay_timing="recorded")
    def test_marked():
        print("marked", scope.current_scope().settings.replay_timing)
    """
    project.pytester.makeini("[pytest]\naquila_replay_timing = 5\n")
    assert "timing 5.0" in project.run("-s", tests=tests).stdout.str()
    monkeypatch.setenv("AQUILA_REPLAY_TIMING", "6")
    assert "timing 6.0" in project.run("-s").stdout.str()
    output = project.run("-s", "--aquila-replay-timing=7").stdout.str()
    assert "timing 7.0" in output
    assert "marked 1.0" in output


def test_two_options_that_both_say_to_record_agree(project: Project) -> None:
    result = project.record("--aquila-transport=record", tests=TWO_CALLS)
    result.stdout.fnmatch_lines(["aquila: 0 replayed, 2 recorded, 0 missed"])


def test_unplayed_recordings_fail_or_are_reported_as_configured(project: Project) -> None:
    project.record(tests=TWO_CALLS)
    one = "def test_it(aquila_cassette):\n    post('one')\n    assert not aquila_cassette.all_played\n"
    project.run(tests=one).assert_outcomes(passed=1)
    project.pytester.makeini("[pytest]\naquila_unplayed = warn\n")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 1 test did not play *: test_app.py::test_it (1 recording of test_app/*"])
    for early in ("pytest.skip('no')", "pytest.xfail('no')", "assert False", "post('three')"):
        result = project.run(tests=f"import pytest\n\n{one}    {early}\n")
        result.stdout.no_fnmatch_line("*did not play*")
    project.run(tests=one)
    project.pytester.makeini("[pytest]\naquila_unplayed = fail\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["cassette test_app/test_it: recording 2 was not played (aquila_unplayed = fail)*"])


@pytest.mark.parametrize("demand", ["warn", "fail"])
def test_what_a_child_process_has_played_is_not_unplayed(project: Project, demand: str) -> None:
    project.record(tests=TWO_CALLS)
    tests = """
    from aquila.recording.scope import current_scope

    def test_it(aquila_cassette):
        post("one")
        scope = current_scope()
        for cassette, number in (("test_app/test_it", 1), ("test_app/test_it", 2), ("test_app/test_it", -1), ("x", 0)):
            scope.child_messages.tell_play(scope.id, [0.5, 7, "2026-01-01T00:00:00Z", cassette, number])
    """
    result = project.run("-o", f"aquila_unplayed={demand}", tests=tests)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*did not play*")
    result.stdout.fnmatch_lines(["aquila: 5 replayed, *"])


def test_a_test_need_not_play_all_of_a_cassette_that_it_shares(project: Project) -> None:
    tests = """
        @pytest.mark.aquila("shared")
        def test_one():
            post("one")

        @pytest.mark.aquila("shared")
        def test_two():
            post("two")
        """
    project.record(tests=tests).assert_outcomes(passed=2)
    project.run("-o", "aquila_unplayed=fail").assert_outcomes(passed=2)


def test_cassettes_that_no_test_used_are_listed_on_request(project: Project) -> None:
    project.record(tests=TWO_CALLS)
    project.record(tests=TWO_CALLS.replace("test_it", "test_renamed"))
    project.run("--aquila-orphans").stdout.fnmatch_lines(["aquila: no test used *: test_app/test_it.yaml"])


def test_old_recordings_are_reported(project: Project) -> None:
    project.record(tests=TWO_CALLS)
    (path,) = (project.cassettes / "test_app").glob("*.yaml")
    text = path.read_text()
    recorded = load_cassette(path).interactions[0].recorded
    path.write_text(text.replace(recorded, "2020-01-01T00:00:00Z"))
    project.pytester.makeini("[pytest]\naquila_max_age = 90d\n")
    told = "aquila: 1 test plays recordings that are old (from 2020-01-01T00:00:00Z): test_app.py::test_it. *"
    project.run().stdout.fnmatch_lines([told])


def test_a_run_that_uses_no_cassette_says_nothing(project: Project) -> None:
    assert "aquila:" not in project.run(tests="def test_it():\n    pass\n").stdout.str()


@pytest.mark.parametrize("where", ["test", "fixture"])
def test_a_miss_that_made_a_test_skip_fails_the_run(where: str, project: Project) -> None:
    fixture, test = ("ask()", "pass") if where == "fixture" else ("pass", "ask()")
    tests = f"""
        def ask():
            try:
                post("hi")
            except BaseException:
                pytest.skip("the provider is down")

        @pytest.fixture
        def prepared(aquila_cassette):
            {fixture}

        def test_it(prepared):
            {test}
    """
    result = project.run(tests=tests)
    result.assert_outcomes(skipped=1, errors=1)
    result.stdout.fnmatch_lines(["nothing is recorded yet in *", "*pytest test_app.py::test_it --aquila-record"])
    assert result.stdout.str().count("nothing is recorded yet in") == 2  # in the error and in the list of failures
    project.record().assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("option", ["-q", pytest.param("--full-trace", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fixture", ["aquila_cassette", "request"])  # a miss, or a refusal
def test_an_unanswered_request_is_no_expected_failure(project: Project, fixture: str, option: str) -> None:
    tests = f"""
import httpx2

def ask():
    httpx2.post("https://api.openai.com/v1/chat/completions", json={{"messages": []}})

@pytest.mark.xfail
def test_marked({fixture}):
    ask()

@pytest.mark.xfail(strict=True)
def test_strict({fixture}):
    ask()

@pytest.mark.xfail(reason="a bug")
def test_swallowed({fixture}):
    try:
        ask()
    except BaseException:
        pass
    assert 0

def test_called({fixture}):
    try:
        ask()
    except BaseException:
        pytest.xfail("the provider is down")
"""
    result = project.run(option, tests=tests)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    error = "CassetteMiss" if fixture == "aquila_cassette" else "LiveCallRefused"
    for name in ("marked", "strict", "swallowed", "called"):
        result.stdout.re_match_lines([rf"(FAILED|ERROR) \S*::test_{name} - {error}: .*"])
    found = result.parseoutcomes()
    assert found.get("failed", 0) + found.get("errors", 0) == 4, found


def test_a_test_that_makes_no_request_any_more_has_unplayed_recordings(project: Project) -> None:
    project.record(tests=TWO_CALLS).assert_outcomes(passed=1)
    result = project.run("-o", "aquila_unplayed=fail", tests="def test_it(aquila_cassette):\n    pass")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*recordings 1, 2 were not played*"])
    result = project.run("-o", "aquila_unplayed=warn")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 1 test did not play *: test_app.py::test_it (2 recordings of test_app/*"])


def test_the_command_that_records_again_starts_from_the_current_folder(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.pytester.mkdir("below")
    project.pytester.makeini("[pytest]")
    (folder / "test_below.py").write_text("from app import post\n\ndef test_it(aquila_cassette):\n    post('hi')\n")
    monkeypatch.chdir(folder)
    result = project.run()
    result.stdout.fnmatch_lines(["*  pytest test_below.py::test_it --aquila-record"])
    assert project.cassettes.parent == project.pytester.path


def test_what_a_block_within_a_test_did_counts(project: Project) -> None:
    tests = """
        def test_it():
            with aquila.use_cassette("shared"):
                assert post("one") == 1
        """
    project.record(tests=tests).stdout.fnmatch_lines(["aquila: 0 replayed, 1 recorded, 0 missed*"])
    result = project.run("--aquila-orphans")
    result.stdout.fnmatch_lines(["aquila: 1 replayed, 0 recorded, 0 missed*"])
    assert "no test used" not in result.stdout.str()


def test_the_variable_records_as_the_option_does(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = """
    def test_it(aquila_cassette):
        assert post("hi") == 1
    """
    monkeypatch.setenv("AQUILA_RECORD", "missing")
    project.run(tests=tests).assert_outcomes(passed=1)
    project.run(tests=tests).assert_outcomes(passed=1)
    assert len(project.calls) == 1
    monkeypatch.setenv("AQUILA_RECORD", "all")
    project.run("--aquila-transport=replay", tests=tests).assert_outcomes(passed=1)
    assert len(project.calls) == 1
    monkeypatch.delenv("AQUILA_RECORD")
    project.run(tests=tests).assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", slow_but(["missing"], ["all", "missing"]))
def test_a_recording_whose_request_has_lost_its_body_is_made_anew(project: Project, mode: str) -> None:
    # The paths of a message are those where pytest was called, and not where a test went.
    tests = "def test_it(aquila_cassette, monkeypatch):\n    monkeypatch.chdir('cassettes')\n    post('a' * 300_000)\n"
    project.cassettes.mkdir()
    project.record(tests=tests).assert_outcomes(passed=1)
    (body,) = (project.cassettes / "test_app" / "@bodies").glob("sha256-*")
    body.unlink()
    result = project.run()
    result.assert_outcomes(failed=1)
    shown, command = f"cassettes/test_app/@bodies/{body.name}", "pytest *test_app.py::test_it --aquila-record=all"
    lost = "the body of a recording is missing (was it committed with its cassette?)"
    said = f"{shown}: {lost}. Restore it (for example: git checkout -- {shown}), or *again"
    result.stdout.fnmatch_lines([f"E*CassetteCorrupt: {said}: {command}"])
    project.run(f"--aquila-record={mode}").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)
    assert body.exists()


def test_a_run_that_records_nothing_new_needs_no_folder_that_can_be_written(project: Project) -> None:
    tests = """
        def test_one(aquila_cassette): assert post("one") == 1
        def test_two(aquila_cassette): assert post("two") == 2
        """
    project.record("-p", "no:randomly", tests=tests).assert_outcomes(passed=2)
    work = project.cassettes / ".journal"
    shutil.rmtree(work, ignore_errors=True)
    work.touch()  # where the folder of the journals belongs: neither can be made
    project.record("-p", "no:randomly").assert_outcomes(passed=2)
    result = project.record("-p", "no:randomly", tests=tests.replace('post("two")', 'post("three")'))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*CassetteWriteError: cannot write *.journal*"])
    assert len(project.calls) == 2
