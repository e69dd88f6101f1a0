"""Joins the reports of several runs, such as those of the shards of a job, or of several versions of Python."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from aquila.run_report.partial_files import MOST_BODIES, add_bodies
from aquila.run_report.schema import Body, RunReport, Test
from aquila.run_report.totals import identity_of, sum_up


def join_reports(reports: Mapping[str, RunReport]) -> RunReport:
    """Return one report of several runs. ``reports`` are theirs, each by a name that tells it from the others.

    A test has the name of its report as its worker. A test that ran in several reports is a test in each of them.
    """
    every = sorted(reports.items(), key=lambda item: item[1]["started"])
    first = every[0][1]
    if len(every) == 1:
        return first
    runs = [report for _, report in every]
    ran = Counter(identity for run in runs for identity in {identity_of(test) for test in run["tests"]})
    bodies: dict[str, Body] = {}
    left = MOST_BODIES
    for run in runs:
        left = add_bodies(bodies, run["bodies"], left)
    joined: RunReport = {
        **first,
        "aquila": _join(run["aquila"] for run in runs),
        "python": _join(run["python"] for run in runs),
        "pytest": _join(run["pytest"] for run in runs),
        "platform": _join(run["platform"] for run in runs),
        "root": _join(run["root"] for run in runs),
        "command": _join((run["command"] for run in runs), "; "),
        "mode": _join(run["mode"] for run in runs),
        "took": max(map(_end_of, runs)) - _start_of(first),
        "tests": [_name_test(test, name, ran) for name, run in every for test in run["tests"]],
        "pending": list(dict.fromkeys(chain.from_iterable(run["pending"] for run in runs))),
        # A cassette that one of the runs has used is not unused, and a run of a part of the tests knows of none.
        "orphans": [path for path in first["orphans"] if all(path in run["orphans"] for run in runs)],
        "notes": [f"{name}: {note}" for name, run in every for note in run["notes"]],
        "bodies": bodies,
    }
    if prices := _distinct(chain.from_iterable(run.get("prices", ()) for run in runs)):
        joined["prices"] = prices
    if ends := [f"{name}: {run['interrupted']}" for name, run in every if "interrupted" in run]:
        joined["interrupted"] = "; ".join(ends)
    joined["totals"] = sum_up(joined["tests"], pending=len(joined["pending"]), orphans=len(joined["orphans"]))
    return joined


def _join(texts: Iterable[str], between: str = ", ") -> str:
    return between.join(dict.fromkeys(texts))


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _start_of(run: RunReport) -> int:
    """Return when a run began, in milliseconds."""
    return round(datetime.datetime.fromisoformat(run["started"]).timestamp() * 1000)


def _end_of(run: RunReport) -> int:
    return _start_of(run) + run["took"]


def _name_test(test: Test, name: str, ran: Mapping[str, int]) -> Test:
    """Return a test of the report ``name``. ``ran`` says in how many reports each test is."""
    named: Test = {**test, "worker": f"{name} {test['worker']}" if "worker" in test else name}
    if ran[identity_of(test)] > 1:
        named["identity"] = f"{name}: {identity_of(test)}"
    named["exchanges"] = [{**each, "id": f"{name}-{each['id']}"} for each in test["exchanges"]]
    return named
