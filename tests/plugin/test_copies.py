"""Compiled copies of cassettes in pytest's cache: faster, never stale, and not needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aquila.cassettes.storage import cassette_files
from tests.plugin.conftest import Project

LONG = "def test_it(aquila_cassette):\n    assert post('a long prompt ' * 300) == 1\n"


@pytest.fixture
def copies(project: Project) -> Path:
    return project.pytester.path / ".pytest_cache" / "d" / "aquila"


def run(project: Project, *arguments: str) -> pytest.RunResult:
    cassette_files._loaded = cassette_files._LoadedCassettes(limit=1 << 20)  # as in a new process
    return project.pytester.runpytest_inprocess(
        "-p", "no:xdist", f"--aquila-upstream={project.module}:transport", *arguments
    )


def test_a_replay_leaves_a_copy_and_the_next_one_reads_it(
    project: Project, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.record(tests=LONG)
    run(project).assert_outcomes(passed=1)
    assert len(list(copies.glob("*.marshal"))) == 1
    assert (project.pytester.path / ".pytest_cache" / ".gitignore").exists()
    with monkeypatch.context() as patch:
        patch.setattr("aquila.cassettes.codecs.yaml.codec.YamlCodec.loads", lambda *a, **k: pytest.fail("parsed again"))
        run(project).assert_outcomes(passed=1)


def test_a_changed_cassette_is_never_answered_from_an_old_copy(project: Project, copies: Path) -> None:
    project.record(tests=LONG)
    run(project).assert_outcomes(passed=1)
    path = project.cassettes / "test_app" / "test_it.yaml"
    path.write_text(path.read_text().replace("answer: 1", "answer: 2"))
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 2 == 1*"])


@pytest.mark.slow
def test_a_damaged_copy_or_no_cache_at_all_changes_nothing(project: Project, copies: Path) -> None:
    project.record(tests=LONG)
    run(project).assert_outcomes(passed=1)
    (copy,) = copies.glob("*.marshal")
    copy.write_bytes(b"damaged")
    run(project).assert_outcomes(passed=1)
    shutil.rmtree(copies)
    copies.write_text("a file where the folder should be")
    run(project).assert_outcomes(passed=1)
    run(project, "-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_conftest_that_asks_for_the_folder_of_copies_too_early_prevents_no_copies(
    project: Project, copies: Path
) -> None:
    project.record(tests=LONG)
    project.pytester.makeconftest(
        """
        from aquila.recording import runtime

        assert runtime.current_run().layers.copies_folder() is None  # pytest has no cache yet
        """
    )
    run(project).assert_outcomes(passed=1)
    assert len(list(copies.glob("*.marshal"))) == 1
