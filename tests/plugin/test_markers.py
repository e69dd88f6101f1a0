"""What is wrong with a marker, or with a variable of the environment, is said where it is."""

from __future__ import annotations

import pytest


def test_a_test_cannot_be_both_live_and_answered_by_a_cassette(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.aquila
        @pytest.mark.aquila_live
        def test_it():
            pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*::test_it: @pytest.mark.aquila and @pytest.mark.aquila_live contradict each other*"])


WRONG_VALUES = {
    "replay_timing='fast'": "@pytest.mark.aquila: replay_timing 'fast'*",
    "timeout=-1": "@pytest.mark.aquila: timeout -1*",
    "repeat='never'": "@pytest.mark.aquila: repeat 'never': must be one of error, last*",
    "reapet='last'": "@pytest.mark.aquila: unknown option 'reapet'; did you mean 'repeat'?*",
    "casette='a'": "@pytest.mark.aquila: unknown option 'casette'; did you mean 'cassette'?*",
    "transport='liv'": "@pytest.mark.aquila: transport: unknown transport 'liv'; did you mean 'live'?*",
    "upstream='lokal'": "@pytest.mark.aquila: upstream: unknown transport 'lokal'; did you mean 'local'?*",
    "1": "@pytest.mark.aquila takes one cassette name*, not 1",
    "cassette=1": "@pytest.mark.aquila takes one cassette name*, not 1",
}


def test_a_wrong_value_names_test_and_marker(pytester: pytest.Pytester) -> None:
    tests = [f"@pytest.mark.aquila({each})\ndef test_{at}():\n    pass\n" for at, each in enumerate(WRONG_VALUES)]
    pytester.makepyfile("import pytest\n\n" + "\n".join(tests))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=len(tests))
    result.stdout.fnmatch_lines([f"*::test_{at}: {expected}" for at, expected in enumerate(WRONG_VALUES.values())])
    assert "marker_options.py" not in result.stdout.str()
    assert "ValueError: could not convert" not in result.stdout.str()
    assert "marker_options.py" in pytester.runpytest_inprocess("--full-trace").stdout.str()


def test_a_name_that_no_cassette_can_have_fails_its_test_and_no_other(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def marked(request):
            request.node.add_marker(pytest.mark.aquila("../late"))

        @pytest.mark.aquila("../named")
        def test_named(aquila_cassette):
            pass

        def test_late(marked, aquila_cassette):
            pass

        def test_other(aquila_cassette):
            pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["CassetteNameError: cassette name '../named' leaves the cassette folder *; remove *"])
    result.stdout.fnmatch_lines(["CassetteNameError: cassette name '../late' leaves the cassette folder *; remove *"])
    result.stdout.fnmatch_lines(["aquila: 0 replayed, 0 recorded, 0 missed"])
    assert "Traceback" not in result.stderr.str()


def test_a_wrong_argument_shows_the_line_of_the_test_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(aquila_script):\n    aquila_script.reply('hi', finish='lenght')\n")
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines([">*finish='lenght'*", "E*ConfigError: finish='lenght': must be one of stop, *"])
    assert "aquila/scripting" not in result.stdout.str()


def test_a_wrong_argument_shows_its_line_in_a_test_that_is_installed_with_its_package(
    pytester: pytest.Pytester,
) -> None:
    test = pytester.mkdir("site-packages") / "test_installed.py"
    test.write_text("def test_it(aquila_script):\n    aquila_script.reply('hi', finish='lenght')\n")
    result = pytester.runpytest_inprocess(str(test))
    result.stdout.fnmatch_lines([">*finish='lenght'*", "E*ConfigError: finish='lenght': must be one of stop, *"])


def test_a_mistake_in_a_module_of_the_project_shows_its_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(provider="import json\nimport no_such_module_of_provider\n")
    pytester.syspathinsert()
    pytester.makepyfile(
        """
        import aquila, pytest

        @pytest.mark.aquila(transport="record", upstream="provider:transport")
        def test_it(aquila_cassette):
            aquila.ask("hi")
        """
    )
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(
        [">*aquila.ask*", ">*import no_such_module_of_provider", "E*UnknownTransport: *cannot import 'provider'*"]
    )
    assert "upstreams.py" not in result.stdout.str()


@pytest.mark.slow
def test_an_unknown_variable_warns_with_a_suggestion(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_TRANSPRT", "live")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*AQUILA_TRANSPRT is not one that Aquila knows; did you mean 'AQUILA_TRANSPORT'?*"])


@pytest.mark.slow
def test_where_warnings_are_errors_an_unknown_variable_ends_the_run_in_one_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_TRANSPRT", "live")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess("-W", "error")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *AQUILA_TRANSPRT is not one that Aquila knows*"])
    assert "Traceback" not in result.stderr.str()


def test_of_several_markers_the_one_nearest_to_the_test_wins(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from aquila.recording import scope

        pytestmark = pytest.mark.aquila("of_the_module", repeat="last", timeout=5)

        @pytest.mark.aquila("of_the_class")
        class TestIt:
            @pytest.mark.aquila("of_the_test", repeat="error")
            def test_it(self, aquila_cassette):
                assert aquila_cassette.path.name == "of_the_test.yaml"
                settings = scope.current_scope().settings
                assert (settings.repeat, settings.timeout) == ("error", 5)

            def test_without(self, aquila_cassette):
                assert aquila_cassette.path.name == "of_the_class.yaml"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_marker_that_a_fixture_adds_counts_as_one_above_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from aquila.recording import scope

        @pytest.fixture
        def place(request):
            request.node.add_marker(pytest.mark.aquila("shared", repeat="last"))

        def test_it(place, aquila_cassette):
            assert aquila_cassette.path.name == "shared.yaml"
            assert scope.current_scope().settings.repeat == "last"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_block_takes_the_transport_of_its_test_in_every_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import aquila
        import pytest
        from aquila.recording import scope

        def transport_of_a_block(**given):
            with aquila.use_cassette("birds", **given):
                return scope.current_scope().settings.transport

        @pytest.mark.aquila_live
        def test_live():
            assert transport_of_a_block() == "live"
            assert transport_of_a_block(transport="replay") == "replay"

        @pytest.mark.aquila(transport="record")
        def test_record():
            assert transport_of_a_block() == "record"

        @pytest.mark.aquila(transport="replay")
        def test_replay():
            assert transport_of_a_block() == "replay"
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=3)
    pytester.runpytest_inprocess("--aquila-record").assert_outcomes(passed=3)
