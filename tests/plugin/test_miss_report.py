"""Tests that miss by one change are grouped at the end of the run."""

from __future__ import annotations

import textwrap

import pytest

from tests.plugin.conftest import Project

SEVERAL = """
    INSTRUCTIONS = "Answer in one sentence"

    @pytest.mark.parametrize("city", ["Rome", "Oslo", "a small town"])
    def test_city(aquila_cassette, city):
        post(f"{INSTRUCTIONS}. Where is {city}? Say it well.")

    def test_river(aquila_cassette):
        post("Where is the Rhine?")

    def test_list(aquila_cassette):
        post(f"{INSTRUCTIONS}. Name lakes.")
    """


def news(result: pytest.RunResult) -> list[str]:
    """The lines of the summary, without the last one."""
    lines = result.outlines
    start = next(n for n, line in enumerate(lines) if line.startswith("aquila:"))
    return lines[start : next(n for n, line in enumerate(lines) if " replayed, " in line)]


def test_a_change_that_breaks_several_tests_is_told_once_with_one_command(project: Project) -> None:
    project.record(tests=SEVERAL).assert_outcomes(passed=5)
    result = project.run(tests=SEVERAL.replace("one sentence", "two sentences").replace("the Rhine", "the Elbe"))
    result.assert_outcomes(failed=5)
    tests = [f"test_app.py::test_city[{city}]" for city in ("Rome", "Oslo", "a small town")]
    quoted = " ".join(f"'{test}'" for test in tests)
    assert news(result) == [
        "aquila: 5 tests miss, 4 of them by the same change: prompt: recorded 'Answer in one sentence. Where is Rome? "
        "Say it well.', now 'Answer in two sentences. Where is Rome? Say it well.' in test_app.py::test_city[Rome], "
        "test_app.py::test_city[Oslo] and 2 more. If it is meant: "
        f"pytest {quoted} test_app.py::test_river test_app.py::test_list --aquila-record",
    ]


def test_a_change_is_told_only_of_the_tests_that_miss_by_it(project: Project) -> None:
    two = """
        def test_lake(aquila_cassette):
            post("Where is the lake?")

        def test_river(aquila_cassette):
            post("Where is the Rhine?")
        """
    project.record(tests=two).assert_outcomes(passed=2)
    (line,) = news(project.run(tests=two.replace("the lake", "the pond").replace("Rhine", "Elbe")))
    assert line.startswith(
        "aquila: 2 tests miss for different reasons, such as prompt: recorded 'Where is the lake?', now 'Where is "
        "the pond?' in test_app.py::test_lake. If it is meant: "
    )


NEW_EACH_TIME = """
    import uuid

    def test_job(aquila_cassette):
        post("job", id=str(uuid.uuid4()))

    def test_run(aquila_cassette):
        post(f"run {uuid.uuid4()}")

    def test_other(aquila_cassette):
        post("MORE")
    """


def test_the_summary_names_the_setting_for_a_value_that_is_new_in_every_run(project: Project) -> None:
    project.record(tests=NEW_EACH_TIME)
    one = " ".join(project.run("-k", "job").stdout.str().split())
    assert "If it is new in every run: aquila_ignore = id. If it is meant: pytest test_app.py::test_job --aqu" in one
    both = " ".join(project.run("-k", "job or run").stdout.str().split())
    assert "If it is new in every run, their failures name the setting. If it is meant: pytest test_app.py" in both
    some = " ".join(
        project.run("-k", "job or other", tests=NEW_EACH_TIME.replace("MORE", "even more")).stdout.str().split()
    )
    assert (
        "If what differs in one of them is new in every run: aquila_ignore = id. To record the others, if that is "
        "meant: pytest test_app.py::test_other --aquila-record" in some
    )
    (project.pytester.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    typed = " ".join(project.run("-k", "test_run").stdout.str().split())
    assert 'If it is new in every run: aquila_normalize = "uuid". If it is meant: pytest test_app.py::test_run' in typed


def test_values_of_other_kinds_in_one_field_are_other_changes(project: Project) -> None:
    tests = """
    import uuid

    @pytest.mark.parametrize("task", ["sort", "count"])
    def test_run(aquila_cassette, task):
        post(f"{task} in run {uuid.uuid4()}")

    def test_object(aquila_cassette):
        post(f"describe <object at 0x{uuid.uuid4().hex[:12]}>")
    """
    project.record(tests=tests)
    (line,) = news(project.run())
    assert line.startswith("aquila: 3 tests miss, 2 of them by the same change: prompt: recorded 'sort in run ")
    assert " in test_app.py::test_run[sort], test_app.py::test_run[count]. " in line


def test_a_setting_that_cures_only_one_of_a_tests_misses_is_not_named_at_the_end(project: Project) -> None:
    tests = """
    import contextlib, uuid

    def test_it(aquila_cassette):
        with contextlib.suppress(aquila.errors.CassetteMiss):
            post("job", id=str(uuid.uuid4()))
        post("WORD")
    """
    project.record(tests=tests)
    shown = project.run(tests=tests.replace("WORD", "another")).stdout.str()
    assert "aquila: 0 replayed, 0 recorded, 2 missed" in shown
    assert "If it is meant:" in shown
    assert "If it is new in every run" not in shown


def test_a_field_that_is_only_empty_is_not_called_new_in_every_run(project: Project) -> None:
    project.record(tests="def test_it(aquila_cassette): post('one')")
    shown = project.run(tests="def test_it(aquila_cassette): post('one', user=None)").stdout.str()
    assert "aquila_ignore = <empty>" in shown
    assert "If it is meant:" in shown
    assert "new in every run" not in shown


def test_a_child_process_tells_the_setting_too(project: Project) -> None:
    tests = """
    import app, uuid

    def test_job(aquila_cassette):
        app.post_in_fork("job", id=str(uuid.uuid4()))
    """
    project.record(tests=tests)
    shown = " ".join(project.run().stdout.str().split())
    assert "If it is new in every run: aquila_ignore = id. If it is meant: pytest test_app.py::test_job --aqu" in shown


def test_a_verbose_run_shows_each_change_with_all_its_tests(project: Project) -> None:
    project.record(tests=SEVERAL)
    result = project.run("-v", tests=SEVERAL.replace("one sentence", "two sentences").replace("the Rhine", "the Elbe"))
    lines = news(result)
    assert lines[:8] == [
        "aquila: 5 tests miss:",
        "  prompt:",
        "    recorded  'Answer in one sentence. Where is Rome? Say it well.'",
        "    now       'Answer in two sentences. Where is Rome? Say it well.'",
        *(f"    test_app.py::test_city[{city}]" for city in ("Rome", "Oslo", "a small town")),
        "    test_app.py::test_list",
    ]
    assert lines[8:10] == [
        "  prompt: recorded 'Where is the Rhine?', now 'Where is the Elbe?'",
        "    test_app.py::test_river",
    ]


@pytest.mark.slow
def test_many_tests_are_named_by_their_files(project: Project) -> None:
    many = """
        @pytest.mark.parametrize("number", range(13))
        def test_it(aquila_cassette, number):
            post("one")
        """
    project.record(tests=many)
    assert news(project.run(tests=many.replace("one", "two"))) == [
        "aquila: 13 tests miss by the same change: prompt: recorded 'one', now 'two' in test_app.py::test_it[0], "
        "test_app.py::test_it[1] and 11 more. If it is meant: pytest test_app.py --aquila-record",
    ]


def test_tests_that_have_no_recordings_are_told_together(project: Project) -> None:
    result = project.run("-k", "city", tests=SEVERAL)
    result.assert_outcomes(failed=3)
    (line,) = news(result)
    assert line.startswith("aquila: 3 tests ask what is not recorded: test_app.py::test_city[Rome], ")


@pytest.mark.slow
def test_the_workers_of_a_distributed_run_are_grouped_together(project: Project) -> None:
    project.record(tests=SEVERAL)
    changed = textwrap.dedent(SEVERAL).replace("one sentence", "1")
    project.pytester.makepyfile(test_app=f"from app import post\nimport pytest\n{changed}")
    result = project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2")
    result.stdout.fnmatch_lines(["aquila: 4 tests miss by the same change: *", "aquila: * 4 missed*"])


def test_a_test_whose_script_has_no_answer_is_not_told_to_record(project: Project) -> None:
    result = project.run(
        tests="""
            def test_scripted(aquila_script):
                import aquila
                aquila.ask("hi")

            def test_recorded(aquila_cassette):
                post("hi")
            """,
    )
    result.assert_outcomes(failed=2)
    assert news(result) == [
        "aquila: 1 test asks what its script cannot answer: test_app.py::test_scripted",
        "aquila: 1 test asks what is not recorded: test_app.py::test_recorded. To record: pytest "
        "test_app.py::test_recorded --aquila-record",
    ]
    result.stdout.fnmatch_lines(
        ['E*To answer it, add aquila_script.reply("...") to the test, or *', "aquila: *2 missed*"]
    )


def test_a_recording_in_which_the_program_had_stopped_is_to_be_recorded_anew(
    project: Project,
) -> None:
    reading = """
        def test_reads(aquila_cassette):
            with aquila.http_client() as http, http.stream("POST", "https://provider.example/v1/x", json={}) as answer:
                answer.READ
        """
    project.record(tests=reading.replace("READ", "status_code")).assert_outcomes(passed=1)
    result = project.run(tests=reading.replace("READ", "read()"))
    result.assert_outcomes(failed=1)
    assert news(result) == [
        "aquila: 1 test reads on where a recorded answer ends: test_app.py::test_reads. If it is meant: pytest "
        "test_app.py::test_reads --aquila-record=all"
    ]
    project.run("--aquila-record=all").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)
