"""``--aquila-orphans``: only a run of all tests says which cassettes no test uses, and none is one that is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.cassettes.storage.recorded_uses import change_uses, read_uses
from tests.plugin.conftest import Project
from tests.support.pipes import pipe_with_a_writer


def write(project: Project, *names: str) -> None:
    """Write cassettes of one recording."""
    request = RecordedRequest("POST", "https://provider.example/v1/x", body=b'{"prompt":"x"}')
    cassette = Cassette.from_interactions([Interaction(request, RecordedResponse(200), "2026-11-24T12:00:00Z")])
    for name in names:
        save_cassette(project.cassettes / f"{name}.yaml", cassette)


def report_of(project: Project, *arguments: str) -> dict[str, Any]:
    """Run the tests, and return the report about cassettes."""
    project.pytester.path.joinpath("unused.json").unlink(missing_ok=True)
    project.run("--aquila-orphans=unused.json", *arguments)
    report: dict[str, Any] = json.loads((project.pytester.path / "unused.json").read_text())
    return report


def names(rows: list[dict[str, str]]) -> list[str]:
    return sorted(row["file"].removesuffix(".yaml") for row in rows)


TESTS = """
import pytest
pytest.importorskip("no_such_module_at_all", reason="not here") if __name__ == "test_skipped" else None

def test_passes():
    pass

@pytest.mark.skip
def test_skips(aquila_cassette): ...

@pytest.mark.parametrize("word", [])
def test_without_parameters(word): ...

@pytest.mark.xfail
def test_xpasses(): ...

@pytest.mark.xfail
@pytest.mark.aquila("named/by-marker")
def test_xfails():
    assert False

class TestGroup:
    def test_fails(self):
        assert False

if False:  # as for another system
    def test_elsewhere(): ...

def test_asks_no_more(aquila_cassette):
    pass
"""


def test_what_a_test_may_need_that_did_not_pass_or_was_not_collected_is_kept(project: Project) -> None:
    project.pytester.makepyfile(
        test_app=TESTS, test_skipped=TESTS, test_ignored=TESTS, test_clean="def test_it(): ...\n"
    )
    project.pytester.makeconftest("collect_ignore = ['test_ignored.py']\n")
    kept = [
        "jobs/of-elsewhere",
        "conftest/@fixture", "jobs/of-skipped", "jobs/unknown", "test_app/@fixture",
        "test_app/TestGroup.test_fails", "test_app/test_elsewhere", "test_app/test_elsewhere-a",
        "test_app/test_skips+0123456789ab",
        "test_app/test_skips-a", "test_app/test_without_parameters-old", "test_app/test_xpasses-old",
        "test_ignored/test_passes", "test_skipped/test_passes",
    ]  # fmt: skip
    unused = [
        "jobs/of-gone", "test_app/test_gone", "test_app/test_passes", "test_app/test_skipsters", "test_clean/@fixture",
        "test_gone/@fixture", "test_gone/test_it",
    ]  # fmt: skip
    used = ["named/by-marker", "test_app/test_asks_no_more", "test_app/test_skips"]
    write(project, *kept, *unused, *used)
    uses = {("jobs/of-elsewhere", "test_app.py::test_elsewhere[a]")}
    uses |= {("jobs/of-skipped", "test_skipped.py::test_passes"), ("jobs/of-gone", "test_gone.py::test_it")}
    change_uses(project.cassettes, lambda known: uses)
    report = report_of(project)
    assert (report["complete"], report["partial_because"]) == (True, [])
    assert names(report["kept"]) == sorted(kept)
    assert names(report["unused"]) == unused
    assert report["tests"]["test_app.py::test_xfails"] == "xfailed"
    assert report["tests"]["test_app.py::test_xpasses"] == "xpassed"
    assert report["tests"]["test_app.py::TestGroup::test_fails"] == "failed"
    reasons = {row["file"]: row["because"] for row in report["kept"]}
    assert reasons["test_skipped/test_passes.yaml"] == "its module was not collected"
    assert reasons["jobs/of-skipped.yaml"].startswith("the module of test_skipped.py::test_passes")


def test_a_cassette_under_another_name_of_its_file_is_used(project: Project) -> None:
    """As by a link, and by a name in another case, where the file system ignores that."""
    project.pytester.makepyfile(
        test_app="""
        import pytest

        @pytest.mark.aquila("jobs/Weather")
        def test_weather(aquila_cassette): ...

        @pytest.mark.aquila("jobs/link")
        def test_link(aquila_cassette): ...
        """
    )
    write(project, "jobs/weather", "jobs/target", "jobs/gone")
    folder = project.cassettes / "jobs"
    if not (folder / "Weather.yaml").exists():
        os.link(folder / "weather.yaml", folder / "Weather.yaml")
    (folder / "link.yaml").symlink_to("target.yaml")
    assert names(report_of(project)["unused"]) == ["jobs/gone"]


def test_a_cassette_that_cannot_be_read_is_kept(project: Project) -> None:
    project.pytester.makepyfile(test_app="def test_it(): ...")
    write(project, "test_app/test_gone")
    (project.cassettes / "test_app/test_lost.yaml").symlink_to("nowhere")
    report = report_of(project)
    assert names(report["unused"]) == ["test_app/test_gone"]
    (kept,) = report["kept"]
    assert kept["file"] == "test_app/test_lost.yaml"
    assert kept["because"].startswith("it cannot be read: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have a name")
def test_a_run_waits_for_no_pipe_among_the_cassettes(project: Project) -> None:
    project.pytester.makepyfile(test_app="def test_it(): ...")
    write(project, "test_app/test_gone")
    with pipe_with_a_writer(project.cassettes / "test_app/test_pipe.yaml"):
        report = report_of(project)
    assert [row["because"] for row in report["kept"]] == ["it cannot be read: Not a regular file"]


def test_a_cassette_of_which_a_tool_has_made_one_file_with_a_used_one_is_not_used(project: Project) -> None:
    project.pytester.makepyfile(
        test_app="""
        import pytest

        @pytest.mark.aquila("jobs/used")
        def test_it(aquila_cassette): ...
        """
    )
    write(project, "jobs/used")
    folder = project.cassettes / "jobs"
    os.link(folder / "used.yaml", folder / "equal.yaml")
    assert names(report_of(project)["unused"]) == ["jobs/equal"]


def test_a_cassette_in_a_folder_of_cassettes_within_another_is_listed_once(project: Project) -> None:
    project.pytester.makepyfile(
        test_app="""
        import pytest

        @pytest.mark.aquila("used", cassette_dir="cassettes/inner")
        def test_it(aquila_cassette): ...
        """
    )
    write(project, "inner/used", "inner/gone", "outer")
    unused = report_of(project)["unused"]
    assert [(row["folder"], row["file"]) for row in unused] == [
        ("cassettes", "outer.yaml"),
        ("cassettes/inner", "gone.yaml"),
    ]


@pytest.mark.slow
def test_what_a_test_used_when_it_was_last_recorded_is_kept_as_long_as_the_test_exists(project: Project) -> None:
    tests = """
    def test_it():
        with aquila.use_cassette("jobs/x"):
            post("one")

    @pytest.fixture(scope="module")
    def shared():
        return post("shared")

    @pytest.fixture(scope="module")
    def idle(): ...

    def test_own(aquila_cassette, shared):
        post("own")
    """
    project.record(tests=tests)
    assert read_uses(project.cassettes) == {("jobs/x", "test_app.py::test_it")}
    write(project, "jobs/other", "test_app/@idle", "test_app/@gone")
    skipped = tests.replace("def test_it", "@pytest.mark.skip\n    def test_it")
    project.run(tests=skipped)
    report = report_of(project)
    assert {row["file"]: row["because"] for row in report["kept"]}["jobs/x.yaml"] == (
        "test_app.py::test_it used it when it was last recorded"
    )
    project.record(tests=tests.replace("jobs/x", "jobs/y"))
    assert read_uses(project.cassettes) == {("jobs/y", "test_app.py::test_it")}
    report = report_of(project)
    assert names(report["unused"]) == ["jobs/other", "jobs/x", "test_app/@gone"]
    assert [row["because"] for row in report["kept"]] == ["no test that was collected uses the fixture idle"]


def test_a_test_that_fails_halfway_still_counts_as_a_user_of_the_cassettes_that_it_did_not_reach(
    project: Project,
) -> None:
    tests = """
    def test_it():
        with aquila.use_cassette("jobs/x"):
            post("one")
        assert HOLDS
        with aquila.use_cassette("jobs/y"):
            post("two")
    """
    project.record(tests=tests.replace("HOLDS", "True")).assert_outcomes(passed=1)
    project.record(tests=tests.replace("HOLDS", "False")).assert_outcomes(failed=1)
    assert read_uses(project.cassettes) == {(name, "test_app.py::test_it") for name in ("jobs/x", "jobs/y")}


def test_a_cassette_into_which_nothing_was_recorded_is_not_noted_as_used(project: Project) -> None:
    write(project, "test_app/test_other")
    project.record(tests="@pytest.mark.aquila('jobs/x')\ndef test_it(): pass").assert_outcomes(passed=1)
    assert not (project.cassettes / "@tests.jsonl").exists()


@pytest.mark.slow
def test_what_only_a_child_process_uses_is_used(project: Project) -> None:
    tests = """
    import os, subprocess, sys

    def test_forks(aquila_cassette):
        if not (child := os.fork()):
            with aquila.use_cassette("jobs/forked"):
                post("forked")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    def test_starts(aquila_cassette):
        code = "import aquila, app\\nwith aquila.use_cassette('jobs/started'): app.post('started')"
        subprocess.run([sys.executable, "-c", code], check=True)
    """
    project.record(tests=tests).assert_outcomes(passed=2)
    recorded = sorted(path.stem for path in (project.cassettes / "jobs").glob("*.yaml"))
    assert recorded == ["forked", "started"]
    assert {use[0] for use in read_uses(project.cassettes)} == {"jobs/forked", "jobs/started"}
    change_uses(project.cassettes, lambda known: ())
    write(project, "jobs/gone")
    report = report_of(project)
    assert (names(report["unused"]), names(report["kept"])) == (["jobs/gone"], [])


@pytest.mark.slow
def test_what_a_child_of_the_last_test_used_is_not_taken_for_that_of_a_shared_fixture(project: Project) -> None:
    project.record(
        tests="""
        import subprocess, sys

        @pytest.fixture(scope="session")
        def known():
            return post("known")

        def test_first(aquila_cassette, known):
            assert known

        def test_last(aquila_cassette):
            code = "import aquila, app\\nwith aquila.use_cassette('jobs/x'): app.post('child')"
            subprocess.run([sys.executable, "-c", code], check=True)
        """
    ).assert_outcomes(passed=2)
    assert read_uses(project.cassettes) == {("jobs/x", "test_app.py::test_last")}


SOME = """
import pytest

def test_a(): ...

@pytest.mark.slow
def test_b(request):
    end = request.config.getini("markers")[0].split(":")[1]
    exec(end)
"""
PARTIAL = {
    "-k test_a": "-k was given",
    "-m slow": "-m was given",
    "test_app.py": "paths or tests were given",
    "test_app.py::test_a": "paths or tests were given",
    "--deselect=test_app.py::test_a": "--deselect was given",
    "--ignore=test_none.py": "--ignore was given",
    "--collect-only": "--collect-only was given",
    "--setup-plan": "--setup-plan was given",
    "-p dropper": "1 collected tests were left out",
    "-p deselecting": "tests were deselected",
    "--aquila-transport=live": "it did not go through cassettes",
    "-o python_functions=none": "there was no test",
    "-o python_functions=test_a": "-o python_functions was given",
    "-p broken": "not everything could be collected",
}


@pytest.mark.slow
def test_a_run_of_some_of_the_tests_is_partial_whatever_left_the_others_out(project: Project) -> None:
    makefile = project.pytester.makepyfile
    project.pytester.makeini("[pytest]\nmarkers = slow:pass\n")
    makefile(test_app=SOME, dropper="def pytest_collection_modifyitems(items):\n    del items[0]\n")
    deselecting = "def pytest_collection_finish(session):\n    session.config.hook.pytest_deselected(items=[1])\n"
    makefile(
        deselecting=deselecting, broken="def pytest_pycollect_makemodule(module_path, parent):\n    raise ValueError\n"
    )
    write(project, "test_app/test_gone")
    assert report_of(project)["complete"] is True
    for arguments, reason in PARTIAL.items():
        report = report_of(project, *arguments.split())
        assert (report["complete"], reason in report["partial_because"]) == (False, True), (arguments, report)
    result = project.run("--aquila-orphans", "-k", "test_a")
    result.stdout.fnmatch_lines(["aquila: this run does not show which * no test uses: -k was given. Run all *"])
    assert "no test used" not in result.stdout.str().replace("no test uses", "")


@pytest.mark.parametrize(
    ("end", "arguments", "reasons"),
    [
        ("raise KeyboardInterrupt", [], ["it was interrupted", "2 of 3 tests did not run"]),
        ("pytest.exit('enough', 0)", [], ["it was interrupted", "2 of 3 tests did not run"]),
        ("assert 0", ["-x"], ["1 of 3 tests did not run"]),
        ("request.session.shouldstop = 'enough'", [], ["it was interrupted", "1 of 3 tests did not run"]),
        ("assert 0", ["--lf", "-p", "cacheprovider"], ["--last-failed was given"]),
    ],
)
@pytest.mark.slow
def test_a_run_that_ends_before_its_time_is_partial(
    project: Project, end: str, arguments: list[str], reasons: list[str]
) -> None:
    project.pytester.makeini(f"[pytest]\nmarkers = slow:{end}\n")
    project.pytester.makepyfile(test_app=SOME + "\ndef test_c(): ...\n")
    runs = project.pytester.runpytest_inprocess
    options = ["-p", "no:xdist", "-p", "no:randomly", "--aquila-orphans=unused.json"]
    runs(*options, *arguments, no_reraise_ctrlc=True)
    report = json.loads((project.pytester.path / "unused.json").read_text())
    assert (report["complete"], report["partial_because"]) == (False, reasons)


def test_a_run_that_starts_in_a_folder_below_is_partial(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pytester.makepyfile(test_app=SOME)
    project.pytester.makeini("[pytest]\nmarkers = slow:pass\n")
    folder = project.pytester.mkdir("below")
    (folder / "test_below.py").write_text("def test_it(): ...\n")
    monkeypatch.chdir(folder)
    project.run("--aquila-orphans=unused.json")
    report = json.loads((folder / "unused.json").read_text())
    assert report["partial_because"] == ["it was started in below, below the root folder"]


WORKERS = """
import os, pytest

@pytest.mark.parametrize("n", range(6))
def test_it(n):
    if n == 3 and {crash}:
        os._exit(1)

@pytest.mark.skip
def test_skips(aquila_cassette): ...
"""


@pytest.mark.slow
def test_workers_tell_of_a_cassette_that_no_file_can_be_named_after_in_the_controller(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    project.pytester.makeconftest("import os; os.environ['PYTHONUTF8'] = '1'  # for the workers")
    project.pytester.makepyfile(
        test_app="""
        import pytest
        from app import post

        @pytest.mark.aquila("k\\xe4se")
        def test_it(aquila_cassette):
            post("Hi")
        """
    )
    upstream = f"--aquila-upstream={project.module}:transport"
    for more in (["--aquila-record", upstream], ["--aquila-orphans=unused.json"]):
        result = project.pytester.runpytest_subprocess("-n1", *more)
        result.assert_outcomes(passed=1)
        assert not result.errlines
    assert names(json.loads((project.pytester.path / "unused.json").read_text())["unused"]) == []
    assert ("k\xe4se", "test_app.py::test_it") in read_uses(project.cassettes)


@pytest.mark.slow
def test_workers_tell_the_controller_and_one_that_crashes_makes_the_run_partial(project: Project) -> None:
    write(project, "test_app/test_gone", "test_app/test_skips-a")
    project.pytester.makeini("[pytest]\n")
    for crash in (False, True):
        project.pytester.makepyfile(test_app=WORKERS.format(crash=crash))
        command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "--aquila-orphans=unused.json"]
        subprocess.run(command, cwd=project.pytester.path, capture_output=True, check=False)
        report = json.loads(Path(project.pytester.path / "unused.json").read_text())
        assert names(report["unused"]) == ["test_app/test_gone"]
        assert names(report["kept"]) == ["test_app/test_skips-a"]
        assert len(report["tests"]) == 7
        assert report["complete"] is not crash
        assert ("a worker crashed" in report["partial_because"]) is crash
