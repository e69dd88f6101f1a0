"""With xdist: one run's tests record into one cassette from several processes, and its sums are the run's."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from tests.plugin.conftest import Project
from tests.support.slow import slow_but

pytest.importorskip("xdist")

TESTS = """
@pytest.mark.parametrize("number", range(12))
@pytest.mark.aquila("shared")
def test_it(number):
    post(f"prompt {number}")
    post("the same")
"""


def run(project: Project, *arguments: str, workers: int = 4) -> pytest.RunResult:
    return project.pytester.runpytest_subprocess(
        f"-n{workers}", "-p", "no:cacheprovider", f"--aquila-upstream={project.module}:transport", *arguments
    )


@pytest.mark.parametrize("workers", slow_but([2], [2, 4]))
@pytest.mark.slow
def test_workers_store_each_interaction_of_a_shared_cassette_exactly_once(project: Project, workers: int) -> None:
    project.pytester.makepyfile(test_app="from app import post\nimport pytest\n" + TESTS)
    result = run(project, "--aquila-record", workers=workers)
    result.assert_outcomes(passed=12)
    stored = Counter(row.request.body for row in load_cassette(project.cassettes / "shared.yaml").interactions)
    assert stored == {b'{"prompt":"the same"}': 1, **{b'{"prompt":"prompt %d"}' % n: 1 for n in range(12)}}
    recorded = len(project.calls)
    replayed = 24 - recorded
    result.stdout.fnmatch_lines([f"aquila: {replayed} replayed, {recorded} recorded, 0 missed*"])
    assert not list((project.cassettes / ".journal").glob("*.journal"))

    result = run(project, workers=workers)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["aquila: 24 replayed, 0 recorded, 0 missed; saved * s and 168 tokens"])
    assert len(project.calls) == recorded


@pytest.mark.slow
def test_what_workers_kept_beside_or_left_unused_is_reported_once(project: Project) -> None:
    project.pytester.makepyfile(
        test_app="from app import post\ndef test_it(aquila_cassette):\n    post('one')\n    assert 0\n"
    )
    (project.cassettes / "old.yaml").parent.mkdir()
    (project.cassettes / "old.yaml").write_text("aquila: 1\ninteractions: []\n")
    result = run(project, "--aquila-record", "--aquila-orphans")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["aquila: the test did not pass*test_it.pending.yaml*"])
    result.stdout.fnmatch_lines(["aquila: no test used this cassette, and it is kept: old.yaml: *"])


APPENDS_GROUPS = """
    import pytest

    def pytest_configure(config):
        config.addinivalue_line("markers", "xdist_group(name): the tests that run in one worker")

    class ByName(pytest.Function):
        def __hash__(self):
            return hash(self.nodeid)

    def pytest_collection_modifyitems(items):
        for item in items:
            item.__class__ = ByName
            if (group := item.get_closest_marker("xdist_group")) is not None:
                setattr(item, "_id" if hasattr(item, "_id") else "_nodeid", f"{item.nodeid}@{group.args[0]}")
    """
"""A ``conftest.py`` that does what pytest-xdist does with ``--dist=loadgroup`` under pytest before 9.2.

There the hash of a test changes with its id.
"""


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("aquila('a', 'b')", "test_app.py::test_it: @pytest.mark.aquila takes one cassette name"),
        ("aquila(max_age='old')", "test_app.py::test_it: @pytest.mark.aquila"),
        ("filterwarnings('ignore')", "  test       test_app.py::test_it\n"),  # a refused request
    ],
)
def test_messages_name_a_test_without_its_group(project: Project, mark: str, told: str) -> None:
    project.pytester.makeconftest(APPENDS_GROUPS)
    output = project.run(
        tests=f"""
        @pytest.mark.xdist_group("of one")
        @pytest.mark.{mark}
        def test_it():
            import httpx2
            httpx2.post("https://api.openai.com/v1/chat/completions")
        """
    ).stdout.str()
    assert told in output


def test_the_group_of_a_test_is_no_part_of_its_name(project: Project) -> None:
    tests = """
        @pytest.mark.xdist_group("of one")
        @pytest.mark.aquila
        class TestGroup:
            @pytest.mark.parametrize("word", ["a@b"])
            def test_it(self, word):
                post("one")
        """
    project.record(tests=tests).assert_outcomes(passed=1)
    assert len(project.cassette_names) == 1
    project.pytester.makeconftest(APPENDS_GROUPS)
    result = project.run("-rA", "--aquila-orphans=orphans.json", "--aquila-report=report.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["PASSED test_app.py::TestGroup::test_it*@of one*"])
    assert "left out" not in (project.pytester.path / "orphans.json").read_text()
    (told,) = json.loads((project.pytester.path / "report.json").read_text())["tests"]
    assert told["id"] == "test_app.py::TestGroup::test_it[a@b]"
    assert "identity" not in told  # which is there for ids that are equal after redaction
    output = project.run(tests=tests.replace("one", "two")).stdout.str()
    assert "pytest 'test_app.py::TestGroup::test_it[a@b]' --aquila-record" in output
