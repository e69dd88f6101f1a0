"""Odd answers of a server: each client sees them live under Aquila as without it, and a replay as it was recorded."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.transports.callers.http_client_answers import to_http_client
from tests.intercept.raw_answers.answers import CASES
from tests.intercept.raw_answers.clients import CLIENTS, POSTING
from tests.intercept.raw_answers.differences import DIFFERENCES, Difference, Step, to_compare
from tests.intercept.raw_answers.server import RawServer, raw_server

MODES = ("plain", "live", "record", "replay")
STEPS: dict[Step, tuple[str, str]] = {
    "live": ("plain", "live"),
    "recorded": ("plain", "record"),
    "replayed": ("record", "replay"),
}
GROUPS = (
    ("httpx2", "httpx2 async"),
    ("httpx", "httpx async"),
    ("requests", "urllib3", "boto3"),
    ("http.client", "urllib.request", "httplib2", "aiohttp"),
    ("openai", "openai async"),
)
"""Clients whose programs run together, one after the other."""

_OPTIONS: Any = {"loopback": "all", "record_errors": "all"}

Found = dict[str, dict[str, dict[str, Any]]]
"""What was seen, by client and case; ``requests`` is how many reached the server."""


def _run_program(mode: str, server: RawServer, folder: Path, clients: tuple[str, ...]) -> Found:
    """Run the program in a process of its own, as outside of any test."""
    repository = Path(__file__).parents[3]
    settings = ("AQUILA_", "OPENAI_", "PYTHON", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    command = [sys.executable, "-m", "tests.intercept.raw_answers.program", mode, f"http://127.0.0.1:{server.port}"]
    ended = subprocess.run(
        [*command, *clients],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(repository), "PYTHONIOENCODING": "utf-8:surrogatepass"},
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="surrogatepass",
    )
    assert ended.returncode == 0, ended.stderr
    found: Found = json.loads(ended.stdout)
    counts = server.take_counts()
    for client, cases in found.items():
        for number, case in enumerate(CASES):
            if case in cases:
                cases[case]["requests"] = counts.get(f"{client.replace(' ', '-')}/{number}", 0)
    return found


def _unexplained(found: dict[str, Found], used: set[Difference]) -> list[str]:
    """The differences that no row explains. Rows that explain one are added to ``used``."""
    unknown = []
    for step, client, case, part, one, other in _differences(found):
        rows = [row for row in DIFFERENCES if row.covers(step, client, case, part)]
        used.update(rows)
        if not rows:
            unknown.append(f"{step}, {client}, {case}, {part}:\n    {one!r:.400}\n    {other!r:.400}")
    return unknown


def _differences(found: dict[str, Found]) -> Iterator[tuple[Step, str, str, str, Any, Any]]:
    """Each difference: step, client, case and part, and the two things that were seen."""
    for step, (before, after) in STEPS.items():
        for client, cases in found[before].items():
            for case in cases:
                one, other = (to_compare(step, client, case, found[mode][client][case]) for mode in (before, after))
                if step == "replayed":
                    one["requests"] = 0
                for part in sorted({*one, *other}):
                    if one.get(part) != other.get(part):
                        yield step, client, case, part, one.get(part), other.get(part)


@pytest.mark.slow
@pytest.mark.long(20)
@pytest.mark.parametrize("clients", GROUPS, ids=lambda clients: clients[0])
def test_a_client_sees_the_same_without_aquila_live_recorded_and_replayed(
    clients: tuple[str, ...], tmp_path: Path
) -> None:
    with raw_server() as server:
        found = {mode: _run_program(mode, server, tmp_path, clients) for mode in MODES}
    used: set[Difference] = set()
    unknown = _unexplained(found, used)
    assert not unknown, "\n".join(unknown)
    stale = [row for row in DIFFERENCES if set(row.clients) <= set(clients) and row not in used]
    assert not stale, "no client sees this any more"


@pytest.mark.parametrize(
    ("client", "case"),
    [
        ("http.client", "a reason phrase that is not ASCII"),
        ("http.client", "a field with blanks around it"),
        ("http.client", "102 and 103 before the answer"),
        ("http.client", "a length twice"),
        ("http.client", "a length that is no number"),
        ("urllib3", "two lengths"),
        ("urllib3", "a JSON answer"),
        ("httpx2", "HEAD with a coding"),
        ("aiohttp", "HEAD with a coding"),
        ("httpx2 async", "a body that is reset"),
        ("aiohttp", "chunks without a last one"),
        ("aiohttp", "no HTTP"),
    ],
)
def test_an_odd_answer_is_seen_alike_plain_recorded_and_replayed(client: str, case: str, root: Path) -> None:
    place, row = f"{client.replace(' ', '-')}/{list(CASES).index(case)}", CASES[case]
    seen: dict[str, dict[str, Any]] = {}
    with raw_server() as server:
        url = f"http://127.0.0.1:{server.port}/{place}"
        for mode in MODES:
            block = (
                contextlib.nullcontext() if mode == "plain" else aquila.use_cassette("x", **_OPTIONS, transport=mode)
            )
            with block:
                seen[mode] = CLIENTS[client](url, row)
            seen[mode]["requests"] = server.take_counts().get(place, 0)
    unknown = _unexplained({mode: {client: {case: each}} for mode, each in seen.items()}, set())
    assert not unknown, "\n".join(unknown)


def test_the_tables_agree() -> None:
    assert sorted(client for group in GROUPS for client in group) == sorted(CLIENTS)
    assert set(POSTING) <= set(CLIENTS)
    named = {case for row in DIFFERENCES for case in row.cases if case != "*"}
    assert named <= set(CASES)
    assert {client for row in DIFFERENCES for client in row.clients} <= set(CLIENTS)


def test_an_answer_that_python_ends_after_its_reader_says_nothing() -> None:
    # Where an error refers to the answer that it came from, Python ends both in any order.
    answer = to_http_client(httpx2.Response(200, content=b"x"), "GET", lambda error: error)
    reader = answer.fp
    reader.close()
    answer.close()
    assert reader.closed
    assert answer.closed
