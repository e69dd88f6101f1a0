"""Every client of the table, as its users have it, in each situation of its users. `make test-wild` runs it.

What does not work must be in the table with the reason, and what is there must not work. So the documentation, which is
written from both, is true.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_hosts import reachable, real_hosts
from tests.support.upstream import Answer
from tests.wild.project.statuses import STATUSES
from tests.wild.project_runs import SECRET, Outcome, Project, Report
from tests.wild.protocols import answer, failure
from tests.wild.results import Results
from tests.wild.table import CLIENTS, Client

HERE = [client for client in CLIENTS if client.group == os.environ["WILD_GROUP"]]
NOTHING_LISTENS = 9
"""A port that is the provider's when it has been stopped."""


def is_broken(client: Client) -> bool:
    return client.broken_since is not None and sys.version_info >= client.broken_since


def as_parameter(client: Client) -> Any:
    fails = pytest.mark.xfail(is_broken(client), reason="fails by itself on this Python")
    return pytest.param(client, id=client.name, marks=fails)


@pytest.mark.parametrize("client", [as_parameter(client) for client in HERE])
def test_a_client_works_in_every_situation(client: Client, tmp_path: Path) -> None:
    """Clients take seconds to import, so each has three processes: it records, records again, and replays."""
    results = Results(client)
    project = Project(client, tmp_path / "project")
    recorded = _record(project, results)
    _record_again(project, results)
    _replay(project, recorded, results)
    results.write()
    if differences := results.differences_from_table():
        pytest.fail(f"{client.name}\n{differences}", pytrace=False)


def _record(project: Project, results: Results) -> Outcome:
    """Everything passes while it is recorded, and streams arrive piece by piece.

    No key is in a cassette, and what the client asks for besides goes nowhere.
    """
    whole: set[str] = set()
    strays: set[str] = set()

    def script(path: str, body: bytes) -> Answer:
        failing = re.search(rb"Fail with (\d+)!", body)
        if failing is not None:
            return failure(int(failing[1]))
        given = answer(path, body)
        if given.status == 404:
            strays.add(path)
        way = project.streaming
        if way is not None and way not in project.client.whole:
            last = len(list(given.chunks)) - 1

            def before_chunk(number: int) -> None:
                if number == last and not project.wait_for_a_piece():
                    whole.add(way)

            given.before_chunk = before_chunk
        return given

    with real_hosts(*project.client.hosts, script=script) as provider:
        outcome = project.run("test_asking.py", "test_failing.py", "--aquila-record", key=True)
        assert provider.requests, f"nothing reached the provider:\n{outcome.output}"
    for way in project.client.ways:
        report = outcome.of("test_asking", way)
        results.note("while it is recorded", way, _not_passed(report) or _said(report, project.client.says))
        if way in whole:
            results.note("while it is recorded", way, "the stream arrived as a whole")
        for status in STATUSES:
            failing = outcome.of("test_failing", f"{way} {status}")
            results.note(f"recording that the provider fails with {status}", way, _not_passed(failing))
        if strays:
            results.note("while it is recorded", way, f"side requests reached the provider: {strays}")
    cassettes = "".join(file.read_text("utf-8") for file in project.folder.rglob("cassettes/*.yaml"))
    assert cassettes, outcome.output
    assert SECRET not in cassettes
    return outcome


def _record_again(project: Project, results: Results) -> None:
    """In another process every request is the same again: nothing reaches the provider.

    A test that says nothing of a cassette is refused, also in such a run.
    """
    with real_hosts(*project.client.hosts, script=answer) as provider:
        files = ("test_asking.py", "test_failing.py", "test_unasked.py")
        outcome = project.run(*files, "--aquila-record", key=True)
    asked = [path for path, _ in provider.requests]
    for way in project.client.ways:
        results.note("recorded again", way, _not_passed(outcome.of("test_asking", way)))
        results.note("without a word of cassettes", way, _not_itself(outcome, "test_unasked", way, "LiveCallRefused"))
        if asked:
            results.note("recorded again", way, f"some way asked the provider again: {asked}")


def _replay(project: Project, recorded: Outcome, results: Results) -> None:
    """Without a key and without the provider everything gets what it got while it was recorded.

    Before that, each test fails with the miss itself, at once and once, because the prompt is another one; and after
    that, because nothing has been recorded. Last, a script answers where the provider's form is known.
    """
    files = ("test_changed.py", "test_asking.py", "test_failing.py", "test_new.py", "test_scripted.py")
    with reachable(dict.fromkeys(project.client.hosts, NOTHING_LISTENS)):
        outcome = project.run(*files, key=False)
    client = project.client
    for way in client.ways:
        told = rf"\S.* differs? from recording \d+ of {FILE}"
        miss = _not_itself(outcome, "test_changed", way, "CassetteMiss", told, in_answer=way in client.own_sockets)
        results.note("with another prompt", way, miss)
        results.note("replayed", way, _not_the_same(recorded, outcome, "test_asking", way) or _slept(outcome, way))
        for status in STATUSES:
            trouble = _not_the_same(recorded, outcome, "test_failing", f"{way} {status}")
            results.note(f"replaying that the provider fails with {status}", way, trouble)
        none = _not_itself(outcome, "test_new", way, "CassetteMiss", in_answer=way in client.own_sockets)
        results.note("without a cassette", way, none)
        results.note("from a script", way, _not_as_scripted(outcome, client, way))
    assert not list(project.folder.rglob("new-*"))


FILE = r"cassettes/\S+\.yaml"


def _not_passed(report: Report) -> str | None:
    return None if report.outcome == "passed" else f"{report.when} {report.outcome}: {_first_line(report.crash)}"


def _said(report: Report, expected: str) -> str | None:
    text = "".join(report.heard) if isinstance(report.heard, list) else str(report.heard)
    return None if text == expected else f"it said {report.heard!r}"


def _not_as_scripted(outcome: Outcome, client: Client, way: str) -> str | None:
    if client.unscripted:
        return _not_itself(outcome, "test_scripted", way, "UnscriptedRequest")
    report = outcome.of("test_scripted", way)
    if isinstance(report.heard, list) and report.heard[-1:] == [client.says]:  # each piece was the whole so far
        return None
    return _not_passed(report) or _said(report, client.says)


def _not_the_same(recorded: Outcome, replayed: Outcome, test: str, way: str) -> str | None:
    before, now = recorded.of(test, way), replayed.of(test, way)
    if trouble := _not_passed(now):
        return trouble
    return None if now.heard == before.heard else f"it said {now.heard!r}, and {before.heard!r} while it was recorded"


def _slept(outcome: Outcome, way: str) -> str | None:
    slept = outcome.of("test_asking", way).slept
    return f"it slept {slept} s" if slept else None


def _not_itself(
    outcome: Outcome, test: str, way: str, error: str, line: str = r"\S.*", *, in_answer: bool = False
) -> str | None:
    """What is wrong with a failure that should be an error of Aquila's and nothing else.

    ``in_answer``: or an error of the client's own, where the output of the run tells it besides.
    """
    failures = outcome.failures(test, way)
    if not failures:
        return "it passed"
    first = failures[0]
    is_told = in_answer and re.search(line, outcome.output) is not None
    if not is_told and not re.fullmatch(rf"(aquila\.errors\.)?{error}: {line}", _first_line(first.crash)):
        return f"{first.when} {first.outcome}: {_first_line(first.crash)}"
    if len(failures) > 1:
        return f"it failed {len(failures)} times: {[one.crash for one in failures]}"
    return f"it slept {first.slept} s" if first.slept else None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
