"""Scopes: which cassette a request belongs to, from any thread, and what a scope passes on to other processes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import (
    AquilaError,
    CassetteNameError,
    CassetteRequired,
    CassetteWriteError,
    SessionClosed,
    UnknownOption,
)
from aquila.faults.plan import FaultPlan
from aquila.recording import scope as scopes
from aquila.recording.scope_joining import ScopeReference, join_scope, reference_fields
from aquila.recording.storing import recorder
from aquila.scripting.script import Script
from aquila.settings import Settings
from tests.support.runs import separate_run
from tests.support.upstream import streamed, upstream

NEEDS_CONTEXTS_OF_THREADS = pytest.mark.skipif(sys.version_info < (3, 14), reason="its threads have no contexts")


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with separate_run(tmp_path):
        yield


def in_thread(function: Callable[[], Any]) -> Any:
    """Run in a thread without this thread's context; return the result or the exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except AquilaError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


def cassette_here() -> str | None:
    scope = scopes.current_scope()
    return scope.default_cassette if scope is not None else None


def test_the_innermost_block_is_in_force_and_the_outer_one_again_afterwards() -> None:
    assert cassette_here() is None
    with aquila.use_cassette("outer"):
        with aquila.use_cassette("inner"):
            assert cassette_here() == "inner"
            assert in_thread(cassette_here) == "inner"
        assert cassette_here() == "outer"
        assert in_thread(cassette_here) == "outer"
    assert cassette_here() is None


def test_a_block_that_raises_leaves_nothing_behind() -> None:
    with pytest.raises(RuntimeError), aquila.use_cassette("x"):
        raise RuntimeError
    assert cassette_here() is None
    assert in_thread(cassette_here) is None


def test_a_scope_that_has_replayed_is_freed_without_the_garbage_collector() -> None:
    scope = scopes.Scope(kind="block", default_cassette="x", options={"transport": "replay"})
    scopes.open_scope(scope)
    session = scope.sessions.session_for("x", "replay")
    gc.disable()
    try:
        scope.close()
        scope.run.scopes.remove(scope)
        assert list(scope.sessions.opened()) == [session]  # for its report
        ended = weakref.ref(scope), weakref.ref(session)
        del scope, session
        assert [each() for each in ended] == [None, None]
    finally:
        gc.enable()


def test_a_block_ends_where_the_working_directory_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    with separate_run(Path()), aquila.use_cassette("x", transport="replay"):
        (tmp_path / "gone").rmdir()


def test_recordings_are_stored_though_a_setting_became_wrong_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        upstream(lambda path, body: streamed("one")) as server,
        monkeypatch.context() as patch,
        aquila.use_cassette("x", transport="record") as cassette,
    ):
        httpx2.post(server.url + "/v1/chat/completions", json={"prompt": "one"})
        patch.setenv("AQUILA_TIMEOUT", "soon")
    assert len(load_cassette(cassette.path).interactions) == 1


def test_a_wrong_setting_does_not_stop_a_nested_block_from_storing_and_releasing_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = httpx2.HTTPTransport.handle_request
    with (
        upstream(lambda path, body: streamed("one")) as server,
        aquila.use_cassette("outer", transport="replay"),
        monkeypatch.context() as patch,
        aquila.use_cassette("inner", transport="record") as cassette,
    ):
        httpx2.post(server.url + "/v1/chat/completions", json={"prompt": "one"})
        patch.setenv("AQUILA_TIMEOUT", "soon")
    assert len(load_cassette(cassette.path).interactions) == 1
    assert httpx2.HTTPTransport.handle_request is ask


def test_a_block_ends_though_an_answer_that_was_left_open_cannot_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(*_: object) -> None:
        raise CassetteWriteError("no space")

    ask = httpx2.HTTPTransport.handle_request
    with (
        upstream(lambda path, body: streamed("one")) as server,
        monkeypatch.context() as patch,
        httpx2.Client() as client,
        pytest.raises(CassetteWriteError, match="no space"),
        aquila.use_cassette("x", transport="record") as cassette,
    ):
        client.post(server.url + "/v1/chat/completions", json={"prompt": "one"})
        request = client.build_request("POST", server.url + "/v1/chat/completions", json={"prompt": "two"})
        client.send(request, stream=True)
        patch.setattr(journal.Journal, "append_entry", is_full)
    assert len(load_cassette(cassette.path).interactions) == 1
    assert cassette_here() is None
    assert httpx2.HTTPTransport.handle_request is ask


def test_threads_with_blocks_of_their_own_do_not_see_each_other() -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> str | None:
        with aquila.use_cassette(f"x{number}"):
            barrier.wait(60)
            seen = cassette_here()
            barrier.wait(60)
            return seen

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [f"x{number}" for number in range(8)]


def test_one_block_may_be_used_by_several_threads_that_leave_it_in_any_order() -> None:
    shared = aquila.use_cassette("x", transport="replay")
    first_entered, last_entered, first_left = threading.Event(), threading.Event(), threading.Event()

    def enter_and_leave_first() -> None:
        with shared:
            first_entered.set()
            assert last_entered.wait(60)
        first_left.set()

    def enter_and_leave_last() -> str | None:
        assert first_entered.wait(60)
        with shared:
            last_entered.set()
            assert first_left.wait(60)
            return cassette_here()

    with ThreadPoolExecutor(2) as pool:
        first, last = pool.submit(enter_and_leave_first), pool.submit(enter_and_leave_last)
        assert last.result(60) == "x"
        first.result(60)


def test_a_thread_that_belongs_to_none_of_several_blocks_is_refused_rather_than_guessed() -> None:
    opened, done = threading.Event(), threading.Event()

    def other() -> None:
        with aquila.use_cassette("other"):
            opened.set()
            assert done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert opened.wait(60)
    with aquila.use_cassette("mine"):
        assert cassette_here() == "mine"
        error = in_thread(cassette_here)
        copied = contextvars.copy_context()
        assert in_thread(lambda: copied.run(cassette_here)) == "mine"
    done.set()
    thread.join()
    assert isinstance(error, CassetteRequired)
    assert "other" in str(error)
    assert "mine" in str(error)


@pytest.mark.parametrize("inherits", [False, pytest.param(True, marks=NEEDS_CONTEXTS_OF_THREADS)])
def test_a_thread_of_a_pool_works_in_the_block_that_hands_it_work(inherits: bool, pytester: pytest.Pytester) -> None:
    """Also where it inherits the context in which it was started, as in free-threaded Python: another block's."""
    pytester.makepyfile("""
        import concurrent.futures, contextvars, aquila
        from aquila.recording.scope import current_scope

        own = contextvars.ContextVar("own", default="nothing")

        def test_it():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                for name in ("one", "two"):
                    with aquila.use_cassette(name):
                        own.set(name)
                        assert pool.submit(lambda: current_scope().default_cassette).result() == name
                print("own:", pool.submit(own.get).result())
    """)
    option = f"thread_inherit_context={int(inherits)}"
    result = pytester.run(sys.executable, "-X", option, "-m", "pytest", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*own: {'one' if inherits else 'nothing'}"])


def test_a_context_that_outlives_its_block_is_refused_instead_of_using_another() -> None:
    with aquila.use_cassette("ended"):
        context = contextvars.copy_context()
    with pytest.raises(SessionClosed, match="ended"):
        context.run(scopes.current_scope)


def test_a_block_may_end_in_another_context_than_it_began_in() -> None:
    """As that of an asynchronous fixture, whose end may run in a task of its own."""
    block = aquila.use_cassette("x")
    context = contextvars.copy_context()
    context.run(block.__enter__)
    block.__exit__(None, None, None)
    with pytest.raises(SessionClosed, match="x"):
        context.run(scopes.current_scope)
    with pytest.raises(SessionClosed, match="is not open"):
        block.__exit__(None, None, None)


def test_asyncio_tasks_and_threads_of_a_block_inherit_it() -> None:
    async def run() -> list[str | None]:
        async with aquila.use_cassette("x"):
            return [await asyncio.create_task(_async_here()), await asyncio.to_thread(cassette_here)]

    async def _async_here() -> str | None:
        return cassette_here()

    assert asyncio.run(run()) == ["x", "x"]


def test_the_decorator_opens_the_cassette_anew_for_each_call() -> None:
    @aquila.use_cassette("x")
    def sync(word: str) -> tuple[str, str | None]:
        return word, cassette_here()

    @aquila.use_cassette("y")
    async def asynchronous() -> str | None:
        return cassette_here()

    assert sync("a") == ("a", "x")
    assert sync("b") == ("b", "x")
    assert sync.__name__ == "sync"
    assert asyncio.run(asynchronous()) == "y"
    assert cassette_here() is None


def test_mistakes_show_when_the_block_is_written_not_when_it_runs() -> None:
    with pytest.raises(CassetteNameError):
        aquila.use_cassette("../x")
    with pytest.raises(UnknownOption, match="did you mean 'record'"):
        aquila.use_cassette("x", recrod="all")


def test_inner_blocks_inherit_settings_and_override_them() -> None:
    with aquila.use_cassette("x", ignore=["user"], replay_timing=2), aquila.use_cassette("y", replay_timing=3):
        scope = scopes.current_scope()
        assert scope is not None
        assert (scope.settings.ignore, scope.settings.replay_timing) == (("user",), 3)


def test_a_block_replays_unless_a_block_around_it_or_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @aquila.use_cassette("x")
    def transport() -> str:
        scope = scopes.current_scope()
        assert scope is not None
        return scope.settings.transport

    assert transport() == "replay"
    with aquila.use_cassette("y", transport="record"):
        assert transport() == "record"
        assert in_thread(transport) == "replay", "the block of another thread is not around it"
    monkeypatch.setenv("AQUILA_TRANSPORT", "live")
    assert transport() == "live"


def test_a_stamp_finds_its_scope_in_the_process_and_makes_a_part_of_it_elsewhere(tmp_path: Path) -> None:
    with aquila.use_cassette("x", ignore=["user"]):
        scope = scopes.current_scope()
        assert scope is not None
        stamp = ScopeReference(**reference_fields(scope))
        assert join_scope(stamp) is scope
    assert str(tmp_path) not in json.dumps(
        [stamp.scope, stamp.name, stamp.default_cassette, dict(stamp.options)], default=str
    )
    part = join_scope(stamp)
    assert (part.id, part.default_cassette, part.is_owner) == (scope.id, "x", False)
    assert part.settings.ignore == ("user",)
    part.close()


def test_a_script_counts_in_the_scopes_within_whether_they_were_opened_before_or_after() -> None:
    outer, before, after, beside = (scopes.Scope(kind="block") for _ in range(4))
    before.nest_within(outer)
    outer.scripts.use(Script())
    after.nest_within(before)
    assert [each.scripts.is_written for each in (outer, before, after, beside)] == [True, True, True, False]


def test_faults_count_in_the_scopes_within_whether_they_were_opened_before_or_after() -> None:
    outer, before, after, beside = (scopes.Scope(kind="block") for _ in range(4))
    before.nest_within(outer)
    outer.faults.use(FaultPlan.from_text("rate_limit", outer.id))
    after.nest_within(before)
    born_with = scopes.Scope(kind="block", options={"faults": "rate_limit"})
    every = (outer, before, after, born_with, beside)
    assert [each.faults.may_be_met for each in every] == [True, True, True, True, False]
    assert [each.faults.plan is not None for each in every] == [True, True, True, True, False]


def test_faults_of_none_switch_those_around_off_and_the_end_of_a_block_of_faults_lets_them_hold_again() -> None:
    outer, inner = scopes.Scope(kind="test", options={"faults": "rate_limit"}), scopes.Scope(kind="block")
    without = scopes.Scope(kind="block", options={"faults": None})
    for each in (inner, without):
        each.nest_within(outer)
    assert (inner.faults.plan, without.faults.plan) == (outer.faults.plan, None)
    block = FaultPlan.from_text("overloaded", inner.id)
    before = inner.faults.use(block)
    assert inner.faults.plan is block
    inner.faults.use(before)
    assert inner.faults.plan is outer.faults.plan is not None
    assert inner.settings.faults == outer.settings.faults


def test_a_setting_that_is_the_text_of_an_earlier_plan_is_parsed_again() -> None:
    scope = scopes.Scope(kind="test", options={"faults": "rate_limit"})
    scope.faults.use(FaultPlan.from_text("overloaded", scope.id))
    scope.override_settings({"faults": "rate_limit"}, source="a test")
    assert str(scope.faults.plan) == "rate_limit"


def test_settings_that_a_thread_resolves_while_another_overrides_them_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scope, with_options = scopes.Scope(kind="block", options={"repeat": "last"}), Settings.with_options

    def override_meanwhile(settings: Settings, options: Mapping[str, Any], *, source: str) -> Settings:
        resolved = with_options(settings, options, source=source)
        monkeypatch.setattr(Settings, "with_options", with_options)
        scope.override_settings({"repeat": "first", "unused": "warn"}, source="a test")
        return resolved

    monkeypatch.setattr(Settings, "with_options", override_meanwhile)
    assert scope.settings.repeat == "last"
    assert (scope.settings.repeat, scope.settings.unused) == ("first", "warn")


def test_threads_that_record_first_at_the_same_time_record_into_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    make, both = recorder.ScopeRecording, threading.Barrier(2)

    def make_at_once(scope: scopes.Scope) -> recorder.ScopeRecording:
        both.wait(30)
        return make(scope)

    monkeypatch.setattr(recorder, "ScopeRecording", make_at_once)
    scope = scopes.Scope(kind="block")
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(getattr, scope, "recording") for _ in range(2))
        assert first.result() is second.result() is scope.recording
