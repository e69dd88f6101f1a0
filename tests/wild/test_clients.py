"""Every client of the table, as its users have it, in each situation of its users. `make test-wild` runs it.

What does not work must be in the table with the reason, and what is there must not work. So the documentation, which is
written from both, is true.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.real_hosts import reachable, real_hosts
from tests.support.upstream import Answer, Upstream
from tests.wild.project_runs import SECRET, Outcome, Project, Report
from tests.wild.protocols import answer
from tests.wild.results import Results
from tests.wild.table import CLIENTS, Client

HERE = [client for client in CLIENTS if client.group == os.environ["WILD_GROUP"]]
OTHER_PROMPT = "What swims?"
NOTHING_LISTENS = 9
"""A port that is the provider's when it has been stopped."""


@pytest.mark.parametrize("client", [pytest.param(client, id=client.name) for client in HERE])
def test_a_client_works_in_every_situation(client: Client, tmp_path: Path) -> None:
    results = Results(client)
    project = Project(client, tmp_path / "project")
    recorded = record(project, results)
    record_again(project, results)
    replay(project, recorded, results)
    change_the_prompt(project, results)
    ask_without_cassette(client, tmp_path / "another", results)
    ask_unasked(project, results)
    results.write()
    if differences := results.differences_from_table():
        pytest.fail(f"{client.name}\n{differences}", pytrace=False)


def record(project: Project, results: Results) -> Outcome:
    """Everything passes while it is recorded, and streams arrive piece by piece. No key is in a cassette."""
    whole: set[str] = set()

    def script(path: str, body: bytes) -> Answer:
        given = answer(path, body)
        way = project.streaming
        if way is not None:
            last = len(list(given.chunks)) - 1

            def before_chunk(number: int) -> None:
                if number == last and not project.wait_for_a_piece():
                    whole.add(way)

            given.before_chunk = before_chunk
        return given

    with real_hosts(*project.client.hosts, script=script) as provider:
        outcome = project.run("--aquila-record", key=True)
        assert provider.requests, f"nothing reached the provider:\n{outcome.output}"
    for way in project.client.ways:
        report = outcome.of(way)
        trouble = _not_passed(report)
        if trouble is None and way in whole:
            trouble = "the stream arrived as a whole"
        if trouble is None and _text(report) != project.client.says:
            trouble = f"it said {report.heard!r}"
        results.note("record", way, trouble)
    cassettes = "".join(file.read_text("utf-8") for file in project.folder.rglob("cassettes/**/*.yaml"))
    assert cassettes
    assert SECRET not in cassettes
    return outcome


def record_again(project: Project, results: Results) -> None:
    """In another process every request is the same again: nothing reaches the provider."""
    with real_hosts(*project.client.hosts, script=answer) as provider:
        outcome = project.run("--aquila-record", key=True)
    asked = [path for path, _ in provider.requests]
    for way in project.client.ways:
        results.note("record again", way, _not_passed(outcome.of(way)))
    if asked:
        results.note("record again", project.client.ways[0], f"the provider was asked again: {asked}")


def replay(project: Project, recorded: Outcome, results: Results) -> None:
    """Without a key and without the provider, everything gets what it got while it was recorded."""
    with reachable(dict.fromkeys(project.client.hosts, NOTHING_LISTENS)):
        outcome = project.run(key=False)
    for way in project.client.ways:
        report = outcome.of(way)
        trouble = _not_passed(report)
        if trouble is None and report.heard != recorded.of(way).heard:
            trouble = f"it said {report.heard!r}, and {recorded.of(way).heard!r} while it was recorded"
        results.note("replay", way, trouble or _slept(report))


def change_the_prompt(project: Project, results: Results) -> None:
    """Each test fails with the miss itself, at once, and with one only."""
    with real_hosts(*project.client.hosts, script=answer) as provider:
        outcome = project.run(prompt=OTHER_PROMPT, key=False)
    for way in project.client.ways:
        results.note("changed prompt", way, _not_itself(outcome, way, "CassetteMiss", CRASH))
    _nothing_asked(provider, outcome)


def ask_without_cassette(client: Client, folder: Path, results: Results) -> None:
    """The same where nothing has been recorded yet."""
    project = Project(client, folder)
    with real_hosts(*client.hosts, script=answer) as provider:
        outcome = project.run(key=False)
    for way in client.ways:
        results.note("no cassette", way, _not_itself(outcome, way, "CassetteMiss"))
    _nothing_asked(provider, outcome)
    assert not (folder / "cassettes").exists()


def ask_unasked(project: Project, results: Results) -> None:
    """A test that says nothing of a cassette is refused, in the same manner."""
    with real_hosts(*project.client.hosts, script=answer) as provider:
        outcome = project.run(file="test_unasked.py", key=True)
    for way in project.client.ways:
        results.note("unasked", way, _not_itself(outcome, way, "LiveCallRefused"))
    _nothing_asked(provider, outcome)


CRASH = r"\S.* differs? from recording \d+ of cassettes/\S+\.yaml"
"""What the line of a miss says after the error's name, where there is a recording to compare with."""


def _not_passed(report: Report) -> str | None:
    return None if report.outcome == "passed" else f"{report.when} {report.outcome}: {report.crash}"


def _slept(report: Report) -> str | None:
    return f"it slept {report.slept} s" if report.slept else None


def _not_itself(outcome: Outcome, way: str, error: str, line: str = r"\S.*") -> str | None:
    """What is wrong with a failure that should be an error of Aquila's and nothing else."""
    report = outcome.of(way)
    failures = [one for one in outcome.reports if one.way == way and one.outcome != "passed"]
    if not failures:
        return "it passed"
    if not re.fullmatch(rf"(aquila\.errors\.)?{error}: {line}", report.crash.partition("\n")[0]):
        return f"{report.when} {report.outcome}: {report.crash}"
    if len(failures) > 1:
        return f"it failed {len(failures)} times: {[one.crash for one in failures]}"
    return _slept(report)


def _nothing_asked(provider: Upstream, outcome: Outcome) -> None:
    asked = [path for path, _ in provider.requests]
    assert asked == [], f"this reached the provider: {asked}\n{outcome.output}"


def _text(report: Report) -> str:
    return "".join(report.heard) if isinstance(report.heard, list) else str(report.heard)
