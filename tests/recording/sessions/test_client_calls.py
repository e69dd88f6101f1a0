"""Attempts of one call of a client are told from other calls with the same request."""

from __future__ import annotations

import asyncio
import functools
import gc
import sysconfig
import weakref
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.sessions.client_calls import ClientCall, OpenCalls, find_caller
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision, ReplayDecision
from tests.recording.sessions.test_shared_counts import Shared

LIBRARY = sysconfig.get_path("purelib")
STANDARD = sysconfig.get_path("stdlib")


@pytest.mark.parametrize(
    ("around", "found"),
    [
        ([], "openai.client"),
        ([("helper", f"{LIBRARY}/helper/__init__.py")], "helper"),
        ([("contextlib", f"{STANDARD}/contextlib.py")], "contextlib"),
        ([("<made>", "<string>")], "<made>"),
        ([("importlib._bootstrap", "<frozen importlib._bootstrap>")], "importlib._bootstrap"),
        ([("aquila.api", "src/aquila/api.py")], "aquila.api"),
        # What calls a program is no part of the call, wherever it is installed.
        ([("huey.api", f"{LIBRARY}/huey/api.py")], "openai.client"),
        ([("threading", f"{STANDARD}/threading.py")], "openai.client"),
        ([("aquila.huey.tasks.prompt_tasks", "src/aquila/huey/tasks/prompt_tasks.py")], "openai.client"),
        # Of this project, and installed.
        ([("shop.app", f"{LIBRARY}/shop/app.py")], "openai.client"),
        ([("prices", f"{LIBRARY}/prices.py")], "openai.client"),
        # Typed into a terminal, or the program itself.
        ([("__main__", "<stdin>")], "openai.client"),
        ([("cell", "<ipython-input-1>")], "openai.client"),
    ],
)
def test_a_call_begins_where_the_program_or_what_runs_it_calls_a_library(
    around: list[tuple[str, str]], found: str, tmp_path: Path
) -> None:
    (tmp_path / "src" / "shop").mkdir(parents=True)
    for source in ("src/shop/__init__.py", "prices.py"):
        (tmp_path / source).touch()
    innermost = ("openai.client", f"{LIBRARY}/openai/client.py")
    call: Callable[[], tuple[FrameType | None, object]] = functools.partial(find_caller, tmp_path)
    for module, filename in [innermost, *reversed(around)]:
        namespace: dict[str, Any] = {"__name__": module, "inner": call}
        exec(compile("def call():\n    return inner()", filename, "exec"), namespace)
        call = namespace["call"]
    frame, _ = call()
    assert frame is not None
    assert frame.f_globals["__name__"] == found


def attempt(number: int) -> RecordedRequest:
    """A request that says how often it was sent before."""
    return RecordedRequest("POST", "https://x.example/v1", (("x-stainless-retry-count", str(number)),))


def test_an_attempt_belongs_to_the_call_that_has_made_one_attempt_less() -> None:
    calls = OpenCalls()
    one = calls.add_call("key", attempt(0))
    assert calls.find_call("key", attempt(1)) is one
    other = calls.add_call("key", attempt(0))
    assert calls.find_call("key", attempt(2)) is one
    assert calls.find_call("key", attempt(1)) is other
    assert calls.find_call("key", attempt(5)) is None
    assert calls.find_call("another key", attempt(3)) is None


def test_each_of_many_equal_calls_at_once_is_found_by_its_stack() -> None:
    """The number of attempts fits all of them: calls that will not be sent again must not be taken for one that is."""
    source = "def attempts(found=None):\n while True:\n  find, *given = yield found\n  found = find(*given)"
    namespace: dict[str, Any] = {"__name__": "openai.client"}
    exec(compile(source, f"{LIBRARY}/openai/client.py", "exec"), namespace)
    calls, clients = OpenCalls(), [namespace["attempts"]() for _ in range(100)]
    for client in clients:
        next(client)
    added = [client.send((calls.add_call, "key", attempt(0))) for client in clients]
    assert [client.send((calls.find_call, "key", attempt(1))) for client in clients] == added


def test_a_task_is_known_without_being_kept_alive() -> None:
    calls = OpenCalls()

    async def fail() -> tuple[ClientCall, ClientCall | None]:
        call = calls.add_call("key", attempt(0))
        call.frame = None  # from Python 3.12 on it keeps alive what has called the client, and so the task
        calls.note_failure("key", call.name)
        return call, calls.find_failed_call("key")

    call, found = asyncio.run(fail())
    assert found is call
    assert asyncio.run(fail())[1] is not call
    gc.collect()
    assert isinstance(call.job, weakref.ref)
    assert call.job() is None


def replaying(*statuses: tuple[int, bool]) -> Session:
    """A session with recordings of one request: their statuses, and whether the next one follows."""
    responses = [
        RecordedResponse(status, attempts=int(status > 400), retried=followed) for status, followed in statuses
    ]
    return Session(
        "name",
        Cassette(tuple([Interaction(attempt(0), response) for response in responses])),
        mode="replay",
        rules=MatchRules(),
        identify_request=lambda request: request.url,
        redactor=Redactor(),
        explain_miss=lambda missed: Explanation("miss"),
    )


def task(session: Session) -> Callable[[], int]:
    """A task of a program. A call lets it ask, and returns the position of the recording, or -1 for a miss."""

    def ask() -> Generator[int, None, None]:
        while True:
            following, decided = session.find_next(attempt(0)), session.decide(attempt(0))
            assert following == (decided.played.position if isinstance(decided, ReplayDecision) else None)
            yield decided.played.position if isinstance(decided, ReplayDecision) else -1

    event_loop: dict[str, Any] = {"__name__": "asyncio.events", "task": ask()}
    exec("def run():\n    return next(task)", event_loop)
    run: Callable[[], int] = event_loop["run"]
    return run


def test_who_meets_a_failure_gets_the_recording_that_follows_it() -> None:
    session = replaying((429, True), (503, True), (200, False), (200, False), (429, False))
    first, second, third, fourth = (task(session) for _ in range(4))
    assert [first(), second(), first(), third(), first()] == [0, 3, 1, 4, 2]
    assert [third(), fourth()] == [-1, -1]


def test_no_recording_is_kept_for_who_does_not_ask_again() -> None:
    session = replaying((429, True), (200, False), (200, False))
    assert [task(session)() for _ in range(4)] == [0, 2, 1, -1]


def test_processes_share_the_counts_of_what_follows_a_failure() -> None:
    count, shared = 40, Shared()
    one, other = (replaying((429, True), *[(200, False)] * count) for _ in range(2))
    for each in (one, other):
        each.share_counts(shared)
    assert [task(each)() for each in (one, other)] == [0, 2]
    one.adopt_shared_plays()
    assert [number for number, _ in one.plays.unplayed] == [2, *range(4, count + 2)]
    assert [task(other)() for _ in range(count)] == [*range(3, count + 1), 1, -1]
    assert shared.counts.total() <= 4 * count  # each of them asks a storage


@pytest.mark.parametrize(("mode", "second"), [("replay", ReplayDecision), ("missing", RecordDecision)])
def test_a_recorded_failure_without_a_number_of_attempts_ends_a_call_only_in_replay_mode(
    mode: str, second: type
) -> None:
    """Recordings of other tools have no such number. The next attempt may be answered, so it is recorded."""
    failure = Interaction(attempt(0), RecordedResponse(503))
    session = Session(
        "name",
        Cassette((failure,)),
        mode=mode,
        rules=MatchRules(),
        identify_request=lambda request: request.url,
        redactor=Redactor(),
        explain_miss=lambda missed: Explanation("miss"),
    )
    first = session.decide(attempt(0))
    assert isinstance(first, ReplayDecision)
    again = session.decide(attempt(1))
    assert type(again) is second
    if isinstance(again, ReplayDecision):
        assert again.interaction is failure
