"""Options with an optional value take it only after ``=``; and what wrong options and settings do."""

from __future__ import annotations

import sys

import pytest

from pytest_aquila import option_values
from tests.plugin.conftest import Project
from tests.support.slow import slow_but

ASKS = "from app import post\ndef test_it(aquila_cassette):\n    post('one')\n"


def test_a_path_behind_such_an_option_is_a_path(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pytester.mkdir("first").joinpath("test_first.py").write_text(ASKS)
    second = project.pytester.mkdir("second")
    second.joinpath("test_second.py").write_text(ASKS)
    second.joinpath("conftest.py").write_text(
        "def pytest_report_header():\n    return 'the conftest was found in time'\n"
    )
    (project.pytester.path / "pytest.ini").write_text("[pytest]\ntestpaths = first\n")

    result = project.run("--aquila-record", "second")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["the conftest was found in time", "aquila: 0 replayed, 1 recorded, 0 missed"])
    result = project.run("--aquila-drift", "second/test_second.py")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: drift: none"])

    project.run("--aquila-record=all", "second").stdout.fnmatch_lines(["aquila: 0 replayed, 1 recorded, *"])
    monkeypatch.setenv("PYTEST_ADDOPTS", "--aquila-record")
    project.run("first").stdout.fnmatch_lines(["aquila: 0 replayed, 1 recorded, *"])
    assert len(project.calls) == 3


@pytest.mark.parametrize(
    ("args", "written"),
    [
        (["--aquila-record", "a"], ["--aquila-record=missing", "a"]),
        (["a", "--aquila-record"], ["a", "--aquila-record=missing"]),
        (["--aquila-record=all", "a"], ["--aquila-record=all", "a"]),
        (["--aquila-drift", "a", "--", "--aquila-record"], ["--aquila-drift=-", "a", "--", "--aquila-record"]),
        (["--aquila-recorded", "a"], ["--aquila-recorded", "a"]),
    ],
)
def test_the_value_that_was_left_out_is_written_out(args: list[str], written: list[str]) -> None:
    assert option_values._with_values(args) == written


@pytest.mark.parametrize(
    ("arguments", "ini", "message"),
    [
        (["--aquila-transport=live", "--aquila-record"], "", "contradict"),
        ([], "aquila_replay_timing = soon", "replay_timing 'soon'*factor"),
        ([], "aquila_repeat = often", "must be one of error, last"),
        (["--aquila-verify=some"], "", "--aquila-verify=some: write a share such as 10%, or a number such as 20"),
        (["--aquila-verify=0"], "", "at least 1"),
        (["--aquila-verify=120%"], "", "at most 100%"),
        (["--aquila-verify", "--aquila-record"], "", "leave --aquila-record"),
        (["--aquila-verify", "--aquila-transport=live"], "", "leave --aquila-transport"),
        (["--aquila-drift=replay", "--aquila-record"], "", "--aquila-drift needs a replay; leave --aquila-record out"),
        (["--aquila-verify-json=x.json"], "", "give --aquila-verify, too"),
        (["--aquila-faults=cut_steam"], "", "did you mean 'cut_stream'?"),
        (["--aquila-faults", "--aquila-record"], "", "leave --aquila-record"),
        (["--aquila-faults-json=x"], "", "give --aquila-faults, too"),
        (["--aquila-faults"], "aquila_faults_timeout = soon", "must be a number of seconds above 0"),
        (["--aquila-faults"], "aquila_faults_timeout = inf", "must be a number of seconds above 0"),
        (["--aquila-faults"], "aquila_faults_timeout = 0", "must be a number of seconds above 0"),
        (["--aquila-faults"], "aquila_faults_allowed = x * y", "'y' is none of accepted, hangs"),
        (["--aquila-faults"], "aquila_faults_allowed = x cut_steam accepted", "did you mean 'cut_stream'?"),
    ],
)
def test_wrong_options_and_settings_stop_a_run_before_any_test(
    arguments: list[str], ini: str, message: str, pytester: pytest.Pytester
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


@pytest.mark.slow  # a process, in which the plugin is not loaded before
@pytest.mark.parametrize("file", ["conftest", "test_it"])
def test_a_plugin_that_the_files_of_a_run_load_comes_too_late_and_says_so(
    file: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_other="def test_other(): pass", **{file: "pytest_plugins = ['pytest_aquila.plugin']"})
    done = pytester.run(sys.executable, "-m", "pytest")
    assert "a conftest.py or a test module has loaded it" in done.stdout.str() + done.stderr.str()


def test_a_test_that_leaves_a_wrong_setting_fails_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def wrong(monkeypatch):
            monkeypatch.setenv("AQUILA_TIMEOUT", "soon")

        def test_passes(wrong): pass

        def test_with_a_cassette(aquila_cassette, wrong): pass

        def test_fails(wrong): assert 0

        def test_with_a_cassette_fails(aquila_cassette, wrong): assert 0

        def test_behind(aquila_cassette): pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["ConfigError: environment variable AQUILA_TIMEOUT: timeout 'soon': must be *"])


def test_a_test_that_leaves_a_wrong_setting_leaves_no_scope_open(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        import pytest
        from aquila.recording import runtime

        @pytest.fixture
        def late():
            yield
            os.environ["AQUILA_TIMEOUT"] = "soon"

        def test_body(aquila_cassette):
            os.environ["AQUILA_TIMEOUT"] = "soon"

        def test_after_the_body():
            del os.environ["AQUILA_TIMEOUT"]
            assert not runtime.current_run().scopes.surrounding()

        def test_teardown(aquila_cassette, late): pass

        def test_after_the_teardown():
            del os.environ["AQUILA_TIMEOUT"]
            assert not runtime.current_run().scopes.surrounding()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, failed=1, errors=2)


@pytest.mark.parametrize("end", slow_but(["assert 0"], ["assert 0", "raise KeyboardInterrupt"]))
def test_a_run_in_which_a_test_leaves_a_wrong_setting_still_has_its_summary(
    end: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        f"""
        import os
        import httpx2

        def test_leaves_it(aquila_cassette):
            try:
                httpx2.get("https://api.openai.com/v1/models")
            except BaseException:
                pass
            os.environ["AQUILA_TIMEOUT"] = "soon"
            {end}
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", no_reraise_ctrlc=True)
    result.stdout.fnmatch_lines(
        ["aquila: environment variable AQUILA_TIMEOUT: *; a test has left it set, so it is removed"]
    )
    assert result.ret == (1 if end == "assert 0" else 2)
    assert "INTERNALERROR" not in result.stdout.str()
    assert not [line for line in result.errlines if "ConfigError" in line]


def test_the_sentence_about_a_wrong_setting_begins_a_line_in_a_quiet_run_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('import os\n\ndef test_leaves_it():\n    os.environ["AQUILA_TIMEOUT"] = "soon"\n')
    result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["aquila: environment variable AQUILA_TIMEOUT: *"])
