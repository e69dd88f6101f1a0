"""``--aquila-report`` beside other reports and plugins that run tests again. `make test-wild` runs it."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.wild.document_plugins import GROUPS
from tests.wild.plugin_projects import Project

if os.environ["WILD_GROUP"] not in GROUPS:
    pytest.skip("the plugins are in environments of their own", allow_module_level=True)

REPORTS = ("--reruns=2", "--aquila-report=out/run.html", "--aquila-report=out/run.json")


def read(project: Project) -> Any:
    return json.loads((project.folder / "out" / "run.json").read_text("utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project", {"test_html.py"}, plugins=("html", "metadata", "rerunfailures", "xdist"))
    found, output = project.run("--aquila-record", "--aquila-upstream=provider:transport", "--reruns=2")
    assert found == {"passed": 1, "rerun": 1}, output
    return project


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one process", "workers"])
def test_each_attempt_of_a_test_that_ran_again_has_its_requests(project: Project, workers: tuple[str, ...]) -> None:
    found, output = project.run(*REPORTS, *workers)
    assert found == {"passed": 1, "rerun": 1}, output
    first, last = read(project)["tests"]
    assert [(each["attempt"], each["outcome"]) for each in (first, last)] == [(1, "rerun"), (2, "passed")]
    for each in (first, last):
        (exchange,) = each["exchanges"]
        assert (exchange["states"], exchange["answer"][0]["text"]) == (["replayed"], "about html <b>rerun</b>")
    assert read(project)["totals"]["requests"] == 1  # sums count the last attempt


def test_pytest_html_links_the_reports_and_tells_of_each_test(project: Project) -> None:
    found, output = project.run(*REPORTS, "--html=pages/tests.html")
    assert found == {"passed": 1, "rerun": 1}, output
    page = html.unescape((project.folder / "pages" / "tests.html").read_text("utf-8"))
    for name in ("run.html", "run.json"):
        assert f'<a href="../out/{name}">what the tests asked</a> ({name})' in page
    assert "aquila: requests: 1" in page
    assert "models: gpt-5-mini" in page
    assert "2 failed" not in output
