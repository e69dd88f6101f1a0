"""Every client that talks over WebSockets, as its users have it. `make test-wild` runs it.

What each program sees is the same without Aquila, while it is recorded, and replayed with the provider stopped. All of
them run in one project, since clients take seconds to import: once without Aquila, once to be recorded, and once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.real_hosts import reachable
from tests.support.web_sockets import WebSocketProvider, web_socket_provider
from tests.wild.project_runs import FILES, SECRET, Outcome, Report, clean_environment, run_observed
from tests.wild.sockets.document import note_versions
from tests.wild.sockets.protocols import refuse, speak
from tests.wild.sockets.table import APPLICATIONS, HOSTS, KEYS, SOCKET_CLIENTS

CLIENTS = [client for client in SOCKET_CLIENTS if client.group == os.environ["WILD_GROUP"]]
if not CLIENTS:
    pytest.skip("no client in this environment talks over WebSockets", allow_module_level=True)

WAYS = [way for client in CLIENTS for way in client.ways]
NOTHING_LISTENS = 9
MISS = r"(aquila\.errors\.)?CassetteMiss: \S.* differs? from message \d+ of \d+ that (the client|it) had sent in .*"
NEW = r"(aquila\.errors\.)?CassetteMiss: \S.*"
REFUSED = r"(aquila\.errors\.)?LiveCallRefused: GET wss://\S+ was refused: .*"


class SocketProject:
    """A user's project with the applications of all clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        project = APPLICATIONS.parent / "project"
        for file in (FILES / "observer.py", *project.glob("*.py"), *APPLICATIONS.glob("*.py")):
            shutil.copy(file, folder)
        (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")

    def run(self, *arguments: str, key: bool) -> Outcome:
        """Run pytest with these arguments, and with keys in the environment or without."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        environment = clean_environment() | {"LITELLM_LOCAL_MODEL_COST_MAP": "true"}
        if key:
            environment |= dict.fromkeys(KEYS, SECRET)
        environment |= {"WILD_WAYS": " ".join(WAYS), "WILD_REPORT": str(report), "HOME": str(self.folder)}
        return run_observed(self.folder, environment, *arguments)


@pytest.mark.long(60)
def test_what_programs_see_over_sockets_is_always_the_same(tmp_path: Path) -> None:
    project = SocketProject(tmp_path / "project")
    with serve() as provider:
        plain = project.run("test_talking.py", "-p", "no:aquila", key=True)
    shook = provider.paths
    with serve() as provider:
        recorded = project.run("test_talking.py", "test_unasked.py", "--aquila-record", key=True)
    troubles = [f"asked for {path} besides" for path in provider.paths if path not in shook]
    if provider.paths != shook:
        troubles.append(f"{len(provider.paths)} handshakes were recorded, and there are {len(shook)} without Aquila")
    with reachable(dict.fromkeys(HOSTS, NOTHING_LISTENS)):
        files = ("test_changed.py", "test_talking.py", "test_new.py")
        replayed = project.run(*files, key=False)
    for way in WAYS:
        for outcome, situation in ((recorded, "recorded"), (replayed, "replayed")):
            troubles += [f"{way}, {situation}: {trouble}" for trouble in _differences(plain, outcome, way)]
        if "refused" not in way:
            troubles += _not_itself(replayed, "test_changed", way, MISS)
        troubles += _not_itself(replayed, "test_new", way, NEW)
        troubles += _not_itself(recorded, "test_unasked", way, REFUSED)
    cassettes = "".join(file.read_text("utf-8") for file in project.folder.rglob("cassettes/*.yaml"))
    assert SECRET not in cassettes
    assert not list(project.folder.rglob("new-*"))
    if troubles:
        pytest.fail("\n".join(troubles), pytrace=False)
    note_versions(CLIENTS)


@contextlib.contextmanager
def serve() -> Iterator[WebSocketProvider]:
    """Serve as the providers do, until the block ends."""
    with web_socket_provider(*HOSTS, speak=speak) as running:
        running.refuse = refuse
        yield running


def _differences(plain: Outcome, other: Outcome, way: str) -> list[str]:
    """What is not as it is without Aquila."""
    before, now = plain.of("test_talking", way), other.of("test_talking", way)
    found = [
        f"{report.when} {report.outcome}: {report.crash}" for report in (before, now) if report.outcome != "passed"
    ]
    if now.heard != before.heard:
        found.append(f"it has seen {_short(now.heard)}, and {_short(before.heard)} without Aquila")
    if len(now.slept) != len(before.slept):
        found.append(f"it slept for {now.slept} s, and for {before.slept} s without Aquila")
    return found


def _short(seen: object) -> str:
    text = json.dumps(seen)
    return text if len(text) < 1200 else f"{text[:800]} ... {text[-400:]}"


def _not_itself(outcome: Outcome, test: str, way: str, line: str) -> list[str]:
    """What is wrong with a failure that should be an error of Aquila's and nothing else."""
    failures = outcome.failures(test, way)
    if not failures:
        return [f"{test}, {way}: it passed"]
    first = _first_line(failures[0])
    found = []
    if not re.fullmatch(line, first):
        found.append(f"{test}, {way}: {failures[0].when} {failures[0].outcome}: {first}")
    if len(failures) > 1:
        found.append(f"{test}, {way}: it failed {len(failures)} times: {[_first_line(one) for one in failures]}")
    if failures[0].slept:
        found.append(f"{test}, {way}: it slept for {failures[0].slept} s")
    return found


def _first_line(report: Report) -> str:
    return report.crash.strip().partition("\n")[0]
