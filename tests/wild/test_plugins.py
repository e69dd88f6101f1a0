"""Every plugin of the table beside Aquila, alone and with all others in one process. `make test-wild` runs it.

The tests of a user's project are recorded, replayed, and run with other prompts. The provider is in the process
of the tests, so that what a plugin does with sockets and processes is the plugin's own.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.wild.document_plugins import GROUPS, forget, note_success
from tests.wild.plugin_projects import Project
from tests.wild.plugin_table import PLUGINS, Plugin

if os.environ["WILD_GROUP"] not in GROUPS:
    pytest.skip("the plugins are in environments of their own", allow_module_level=True)

HERE = [plugin for plugin in PLUGINS if plugin.only_in in (None, os.environ["WILD_GROUP"])]
TOGETHER = [plugin for plugin in HERE if not plugin.alone]


def check_project(project: Project, rows: list[Plugin], arguments: tuple[str, ...]) -> None:
    """Record, replay, and run with changed prompts. What the newest versions replay twice the oldest replay once."""
    outcomes: Counter[str] = Counter()
    recorded: Counter[str] = Counter()
    extra: list[str] = []
    for row in rows:
        outcomes.update(row.outcomes)
        more, expected = row.recording or ((), row.outcomes)
        extra += more
        recorded.update(expected)
    for counted in (outcomes, recorded):
        if "errors" in counted:
            counted["error"] = counted.pop("errors")

    found, output = project.run("--aquila-record", "--aquila-upstream=provider:transport", *extra, *arguments)
    assert found == recorded, output
    calls = project.calls
    assert calls, output
    replayed_elsewhere = os.environ["WILD_GROUP"] == "wild-oldest" and all(row.only_in is None for row in rows)
    for _ in range(1 if replayed_elsewhere else 2):
        found, output = project.run(*arguments)
        assert found == outcomes, output
        assert project.calls == calls, output

    found, output = project.run(*arguments, drift=" changed")
    assert project.calls == calls, output
    assert found["passed"] == 0, output
    assert "INTERNALERROR" not in output, output
    assert "CassetteMiss" in output


@pytest.mark.parametrize("plugin", HERE, ids=lambda plugin: plugin.name)
def test_a_plugin_alone(plugin: Plugin, tmp_path: Path) -> None:
    group = os.environ["WILD_GROUP"]
    forget(plugin, group)
    project = Project(tmp_path / "project", set(plugin.files), plugins=plugin.load)
    check_project(project, [plugin], plugin.arguments)
    note_success(plugin, group)


@pytest.mark.long(60)
def test_all_plugins_in_one_process(tmp_path: Path) -> None:
    rows = list({row.files: row for row in TOGETHER}.values())
    project = Project(tmp_path / "project", {file for row in rows for file in row.files}, plugins=None)
    # Python 3.11 can fail to parse the source for a traceback ("AST constructor recursion depth mismatch").
    # pytest-retry keeps its options in a class, so it fails in the run of pytester within the run.
    check_project(project, rows, ("--tb=native", "-p", "no:pytest-retry"))
