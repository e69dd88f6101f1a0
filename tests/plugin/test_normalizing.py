"""``aquila_normalize``: ids, dates and paths in a prompt may be others in each run."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Project

TESTS = """
import uuid

def test_of_the_ini_file(aquila_cassette, tmp_path):
    one, other = uuid.uuid4(), uuid.uuid4()
    assert post(f"{one} at {tmp_path}") == 1
    assert [post(f"{one} then {one}"), post(f"{one} then {other}"), post(f"{other} then {one}")] == [2, 3, 4]

@pytest.mark.aquila(normalize=[r"/run-\\d+/", "uuid"])
def test_of_a_marker():
    assert post(f"{uuid.uuid4()} run-{uuid.uuid4().int}") == 5

def test_of_a_call():
    with aquila.use_cassette("called", normalize=r"/run-\\d+/"):
        assert post(f"run-{uuid.uuid4().int}") == 6
"""


@pytest.mark.slow
def test_what_is_new_in_every_run_is_replayed(project: Project) -> None:
    project.pytester.makeini("[pytest]\naquila_normalize =\n    uuid, tmp_path\n    /not there/\n")
    project.record(tests=TESTS).assert_outcomes(passed=3)
    texts = {path.name: path.read_text() for path in project.cassettes.rglob("*.yaml")}
    assert not any("⟨" in text for text in texts.values())  # what was sent
    assert "pytest-of-" in texts["test_of_the_ini_file.yaml"]
    for _ in range(2):
        project.run().assert_outcomes(passed=3)
    project.record().assert_outcomes(passed=3)
    assert len(project.calls) == 6
    assert {path.name: path.read_text() for path in project.cassettes.rglob("*.yaml")} == texts


def test_compiled_copies_follow_the_setting(project: Project) -> None:
    def run(*settings: str) -> pytest.RunResult:
        given = [argument for setting in settings for argument in ("-o", setting)]
        upstream = f"--aquila-upstream={project.module}:transport"
        return project.pytester.runpytest_inprocess("-p", "no:xdist", upstream, *given)

    project.record("-o", "aquila_normalize=uuid", tests=TESTS.partition("@")[0].replace("tmp_path", "capsys"))
    run("aquila_normalize=uuid /capture.*$/").assert_outcomes(passed=1)  # leaves a copy
    run().assert_outcomes(failed=1)
    run("aquila_normalize=uuid /capture.*$/").assert_outcomes(passed=1)


@pytest.mark.parametrize("option", ["normalize=uid", "ignore=a[", "match_on=bodi", "keep_headers=authorization"])
def test_a_setting_that_is_wrong_is_told_before_any_test(project: Project, option: str) -> None:
    name, _, value = option.partition("=")
    tests = f"@pytest.mark.aquila({name}={value!r})\ndef test_it(aquila_cassette):\n    post('a')\n"
    result = project.run("-o", f"aquila_{option}", tests=tests)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{name}: *{value}*"])
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{name}: *{value}*"])


def test_a_server_of_this_machine_that_was_recorded_is_known_by_its_normalized_path(project: Project) -> None:
    tests = """
        import httpx2, uuid

        def test_it(aquila_cassette):
            httpx2.get(f"http://127.0.0.1:9/runs/{uuid.uuid4()}")
        """
    normalize = ("-o", "aquila_normalize=uuid")
    project.record(*normalize, "-o", "aquila_loopback=all", tests=tests).assert_outcomes(passed=1)
    project.run(*normalize).assert_outcomes(passed=1)
    project.run().assert_outcomes(failed=1)
