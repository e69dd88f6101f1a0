"""The reference of a task: what it carries, what it must not decide, and that nothing is answered without it."""

import asyncio
import contextvars
import json
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import huey as plain
import pytest
from huey.api import chord, group
from huey.serializer import Serializer, SignedSerializer
from huey.utils import Error

import aquila
from aquila.cassettes.storage.journal import Journal, find_journals_of
from aquila.errors import (
    CassetteMiss,
    CassetteRequired,
    ConfigError,
    MessageRejected,
    PickledMessages,
)
from aquila.huey import instances, instrumenting
from aquila.huey.scopes import scope_reference
from aquila.huey.scopes.scope_reference import KEY
from aquila.huey.scopes.scope_sharing import SharedRequestCounts
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.tasks.message_fields import attach_fields
from aquila.huey.testing import drain_queue, perform_job, run_consumer, run_periodic, use_test_queue
from aquila.recording import scope as scopes
from aquila.recording.runtime import SEAL_LENGTH, run_key
from aquila.recording.scope_joining import ScopeReference, join_scope
from aquila.recording.under_test import under_test
from tests.huey.sample_tasks import returning
from tests.support.runs import separate_run


@pytest.fixture
def no_test(monkeypatch, tmp_path):
    """As outside of a test: no scope opens by itself, and the cassettes lie in a folder of this test's."""
    with separate_run(tmp_path):
        yield


@pytest.fixture
def replaying(monkeypatch, tmp_path):
    """As in a test run: replay, under pytest, without any scope that is open by itself."""
    with separate_run(tmp_path, defaults={"transport": "replay"}, under_pytest=True):
        yield


def fields_of(reference):
    return json.loads(reference[SEAL_LENGTH:])


def scope_here():
    """A task's body: which scope its requests would go to."""
    scope = scopes.current_scope()
    return None if scope is None else scope.default_cassette


def wire(huey):
    """The keyword arguments of the messages in the queue, as they are on the wire."""
    return [huey.serializer.deserialize(data).kwargs for data in huey.storage.enqueued_items()]


@pytest.fixture(params=["mixed in", "instrumented"])
def huey(request):
    if request.param == "mixed in":
        return instances.MemoryHuey("app")
    with pytest.warns(PickledMessages):
        return instrumenting.instrument(plain.MemoryHuey("app"))


def test_outside_of_any_scope_a_task_carries_nothing(huey, no_test):
    @huey.task()
    def task(a):
        return 1

    task(a=1)
    assert wire(huey) == [{"a": 1}]


def test_within_a_scope_a_task_carries_its_stamp_and_arrives_without(huey, no_test):
    @huey.task()
    def task(a):
        return scope_here()

    with under_test(), aquila.use_cassette("folder/one") as cassette:
        pending = task.s(a=1)
        huey.enqueue(pending)
        assert pending.kwargs == {"a": 1}
        (sent,) = wire(huey)
        assert fields_of(sent[KEY])["default"] == "folder/one"
        assert str(cassette.path.parent.parent) not in sent[KEY]
        assert huey.pending()[0].kwargs == {"a": 1}
        assert huey.execute(huey.dequeue()) == "folder/one"


def test_the_stamp_is_kept_through_everything_that_enqueues_again(huey, no_test):
    seen = []

    @huey.task(retries=1, retry_delay=60)
    def flaky(name):
        seen.append((name, scope_here()))
        if len(seen) == 1:
            raise ValueError
        return name

    @huey.task()
    def note(*arguments):
        seen.append((arguments[-1] if isinstance(arguments[-1], str) else "note", scope_here()))
        return "noted"

    @huey.task()
    def nest():
        note("nested")
        raise ValueError

    with use_test_queue(huey), aquila.use_cassette("one"):
        flaky("retried")
        note.schedule(("later",), delay=3600)
        huey.enqueue(nest.s().error(note))
        huey.enqueue(note.s("first").then(note, "second"))
        huey.enqueue(chord([note.s("left"), note.s("right")], note.s("callback")))
        huey.enqueue(group([note.s("member")]))
        with aquila.use_cassette("two"):
            note("inner")
        # What runs later must not depend on what is open then.
        with aquila.use_cassette("three"):
            drain_queue(with_scheduled=True, raise_errors=False)
    assert {scope for name, scope in seen if name != "inner"} == {"one"}
    assert [scope for name, scope in seen if name == "inner"] == ["none"]  # Its scope has ended: refused.
    assert len(seen) == 12


def test_two_tests_at_once_do_not_mix(no_test):
    huey = instances.MemoryHuey("app")

    @huey.task()
    def task():
        return scope_here()

    with use_test_queue(huey), run_consumer(workers=2) as consumer, aquila.use_cassette("one"):
        first = [task() for _ in range(5)]
        with aquila.use_cassette("two"):
            second = [task() for _ in range(5)]
            assert consumer.wait(*first) == ["one"] * 5
            assert consumer.wait(*second) == ["two"] * 5


def test_a_worker_thread_sees_neither_the_context_of_the_last_task_nor_of_the_test(no_test):
    huey, variable = instances.MemoryHuey("app"), contextvars.ContextVar("variable", default="default")

    @huey.task()
    def leak():
        before = variable.get()
        variable.set("leaked")
        return before

    with use_test_queue(huey), run_consumer() as consumer:
        assert consumer.wait(leak(), leak(), leak()) == ["default"] * 3


# Failing closed


def ask():
    with aquila.http_client() as http:
        return http.post("https://provider.example/v1/x", json={"prompt": "p"}).json()


def test_a_task_without_a_stamp_is_refused_under_pytest(huey, replaying):
    @huey.task()
    def task():
        return ask()

    task()
    assert wire(huey) == [{}]
    with aquila.use_cassette("of another test"):
        assert huey.execute(huey.dequeue()) is None
        error = huey.storage.result_items().popitem()[1]
        assert "CassetteRequired" in str(huey.serializer.deserialize(error))
        assert "carries no reference" in str(huey.serializer.deserialize(error))


def test_a_task_of_a_test_that_has_ended_is_refused_by_name(huey, replaying):
    failures = []

    @huey.task()
    def task():
        try:
            ask()
        except CassetteRequired as error:
            failures.append(str(error))

    with aquila.use_cassette("one"):
        task()
    with aquila.use_cassette("two"):
        huey.execute(huey.dequeue())
    assert "use_cassette('one') enqueued it and has ended" in failures[0]


def test_what_a_refused_task_enqueues_is_refused_too(huey, replaying):
    failures = []

    @huey.task()
    def child():
        try:
            ask()
        except CassetteRequired as error:
            failures.append(str(error))

    @huey.task()
    def parent():
        child()

    parent()
    with aquila.use_cassette("two"):
        huey.execute(huey.dequeue())
        huey.execute(huey.dequeue())
    assert "carries no reference" in failures[0]


def test_a_periodic_task_of_a_scheduler_is_refused_and_run_periodic_has_the_scope_of_its_caller(huey, replaying):
    seen, enqueued = [], threading.Event()

    @huey.periodic_task(lambda moment: True)
    def periodic():
        try:
            seen.append(scope_here())
            ask()
        except (CassetteRequired, CassetteMiss) as error:
            seen.append(getattr(error, "public_class", type(error)))
        enqueued.set()

    with aquila.use_cassette("one") as cassette, use_test_queue(huey):
        run_periodic()
        assert seen == ["one", CassetteMiss]
        cassette.forget_misses()
        enqueued.clear()
        with run_consumer(periodic=True):
            assert enqueued.wait(60)
        assert seen[2:] == ["none", CassetteRequired]


def test_a_consumer_without_aquila_fails_loudly(no_test):
    huey = instances.MemoryHuey("app", serializer=Serializer())
    task = returning(huey, 1, name="task")

    with aquila.use_cassette("one"):
        task()
    unpatched = plain.MemoryHuey("app")
    unpatched.storage, unpatched._registry = huey.storage, huey._registry
    unpatched.execute(unpatched.dequeue())
    assert KEY in str(pickle.loads(huey.storage.result_items().popitem()[1]))


def test_outside_pytest_a_replaying_task_without_a_stamp_is_a_scope_of_its_own(huey, monkeypatch, tmp_path):
    seen = []

    @huey.task()
    def task():
        seen.append(scopes.current_scope())
        return ask()

    with separate_run(tmp_path, defaults={"transport": "replay"}), use_test_queue(huey):
        for _ in range(2):
            task()
        with pytest.raises(CassetteRequired, match="AQUILA_UNDER_TEST=1"):
            drain_queue()
        drain_queue(raise_errors=False)
    assert seen[0] is not seen[1]
    assert all(scope.closed for scope in seen)


def test_a_live_run_refuses_no_task(huey, monkeypatch, tmp_path):
    with separate_run(tmp_path, defaults={"transport": "live"}, under_pytest=True):

        @huey.task()
        def task():
            return scope_here()

        task()
        assert huey.execute(huey.dequeue()) is None


# Hostile references


def reference(sealed=True, **changes):
    fields = {"scope": secrets.token_hex(8), "name": "t", "default": "one", "transport": "replay", "options": {}}
    text = json.dumps({**fields, "from": "elsewhere", **changes})
    return (run_key().make_seal(text) if sealed else "0" * SEAL_LENGTH) + text


def execute_with(fields, body):
    """Execute a task whose message carries ``fields``; return what came of it: a value or the text of an error."""
    huey = instances.MemoryHuey("app")

    @huey.task()
    def task(**kwargs):
        return body()

    message = task.s(**{KEY: fields})
    message._aquila_scope = None  # or it would get the reference to the scope that is open here
    huey.storage.enqueue(huey.serialize_task(message))
    value = huey.execute(huey.deserialize_task(huey.storage.dequeue()))
    results = [huey.serializer.deserialize(data) for data in huey.storage.result_items().values()]
    return next((str(found) for found in results if isinstance(found, Error)), value)


def transport_here():
    scope = scopes.current_scope()
    return None if scope is None else scope.settings.transport


@pytest.mark.parametrize("transport", ["live", "record", "local", "script", "os:system"])
@pytest.mark.parametrize("own", ["replay", "live", "record"])
def test_no_message_moves_a_process_to_another_transport(tmp_path, own, transport):
    def ask_there():
        assert transport_here() == transport == own
        return "its own"

    with separate_run(tmp_path, defaults={"transport": own}, under_pytest=True):
        found = execute_with(reference(transport=transport), lambda: ask_there() if transport == own else ask())
    assert found == "its own" if own == transport else "which no message changes" in found
    assert not [*tmp_path.rglob("*.journal")]


@pytest.mark.parametrize("own", ["replay", "live", "record"])
def test_where_the_test_replays_its_worker_replays_whatever_it_was_started_to_do(tmp_path, own):
    with separate_run(tmp_path, defaults={"transport": own}, under_pytest=True):
        assert execute_with(reference(), transport_here) == "replay"
        assert "nothing is recorded" in execute_with(reference(), ask)  # It was not refused, which replays, too.


@pytest.mark.parametrize(
    "option",
    [
        {"transport": "live"}, {"record": "all"}, {"upstream": "os:system"}, {"base_url": "https://evil.example"},
        {"api_key": "k"}, {"cassette_dir": "/"}, {"guard": "off"}, {"providers": ["x"]}, {"ignore_hosts": ["x"]},
        {"replay_timing": 1e9}, {"silence": 1e9}, {"durable": "fsync"}, {"ignore": [1]}, {"ignore": {"a": "b"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_message_decides_nothing_but_how_requests_are_compared(replaying, option):
    with pytest.raises(MessageRejected, match="malformed"):
        execute_with(reference(options=option), ask)
    assert execute_with(reference(options={"ignore": ["user"]}), lambda: list(scopes.current_scope().settings.ignore))


def test_options_that_cannot_be_understood_are_refused(replaying):
    assert "unknown options" in execute_with(reference(options={"repeat": "no such word"}), ask)


@pytest.mark.parametrize(
    "scope",
    ["/tmp/elsewhere", "../../x", "*", "ABCDEF0123456789", "0123456789abcdef\n", "0" * 15, "0" * 17, "", 1, None],
)
def test_an_id_that_is_none_is_rejected_wherever_it_comes_from(replaying, tmp_path, scope):
    with pytest.raises(MessageRejected, match="malformed"):
        execute_with(reference(scope=scope), ask)
    with pytest.raises(ConfigError, match="sixteen hexadecimal digits"):
        join_scope(ScopeReference(scope, "t", None))
    with pytest.raises(ConfigError, match="sixteen hexadecimal digits"):
        Journal(tmp_path, scope)
    with pytest.raises(ConfigError, match="sixteen hexadecimal digits"):
        find_journals_of(tmp_path, scope)
    if scope is not None:
        with pytest.raises(ConfigError, match="sixteen hexadecimal digits"):
            scopes.Scope(kind="task", joined_id=scope)


@pytest.mark.parametrize("transport", ["live", "record", "replay"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_production_worker_ignores_references_and_does_not_pass_them_on(tmp_path, transport, sealed):
    seen = []
    with separate_run(tmp_path):
        huey = instances.MemoryHuey("app")

        @huey.task(retries=1)
        def task(customer):
            seen.append((customer, scopes.current_scope()))
            if len(seen) == 1:
                raise ValueError

        for fields in (reference(sealed, transport=transport), "x" * 1_000_000, 7):
            seen.clear()
            huey.storage.enqueue(huey.serialize_task(task.s("Eve", **{KEY: fields})))
            huey.execute(huey.dequeue())
            (again,) = wire(huey)
            assert again[KEY]["reference"] is None
            assert huey.dequeue()._aquila_attempt == 2
            assert seen == [("Eve", None)]
    assert not [*tmp_path.rglob("*")]


def test_a_reference_that_another_run_made_is_refused(replaying):
    assert "not made by the run" in execute_with(reference(sealed=False), ask)
    sealed = reference()
    moved = sealed[:SEAL_LENGTH] + sealed[SEAL_LENGTH:].replace('"one"', '"another"')
    assert "not made by the run" in execute_with(moved, ask)


def test_without_a_key_a_stranger_learns_no_more_from_one_message_than_that_message(replaying):
    """What a message shows of its seal makes no other message."""
    with aquila.use_cassette("one"):
        scope = scopes.current_scope()
        sent = scope_reference.reference_to_current_scope()
        forged = sent.replace(scope.id, secrets.token_hex(8)).replace(fields_of(sent)["from"], "elsewhere")
        assert "not made by the run" in execute_with(forged, ask)


def test_a_reference_cannot_leave_the_cassette_folder(replaying):
    for name in ("../../etc/passwd", "/etc/passwd", "a/../../b", "C:/x", "a\0b"):
        assert "CassetteNameError" in execute_with(reference(default=name), ask)


def test_a_reference_does_not_choose_the_cassette_of_a_scope_that_is_open_here(replaying):
    with aquila.use_cassette("mine"):
        mine = scopes.current_scope()
        assert execute_with(reference(sealed=False, scope=mine.id, default="other"), scope_here) == "mine"
        assert mine.default_cassette == "mine"


NUMBERS = {"reference": None, "attempt": 1, "deliveries": 0}
MALFORMED = [1, [], {}, "x", "null", "[]", "{}", '{"refused": 1}', "[" * 100_000]
MALFORMED += [reference(**changes) for changes in ({"default": 1}, {"options": []}, {"from": None}, {"transport": 1})]
MALFORMED += [reference(refused=None), reference(refused="why"), "0" * SEAL_LENGTH + '{"refused": null}']
MALFORMED += ["0" * SEAL_LENGTH + "[" * 10_000, reference(name="x" * 70_000)]
MALFORMED += [
    {**NUMBERS, **changes} for changes in ({"attempt": "1"}, {"deliveries": -1}, {"reference": 1}, {"more": 1})
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_reference_is_rejected(malformed):
    with under_test(), pytest.raises(MessageRejected, match="malformed"):
        attach_fields(SimpleNamespace(), malformed)


# Other processes


def test_requests_are_counted_from_zero_in_each_scope_and_by_all_workers_together(make_aquila_huey):
    storage = make_aquila_huey("memory").storage
    one, another, other_scope = (SharedRequestCounts(storage, scope) for scope in ("1", "1", "2"))
    assert [counts.count_request("a") for counts in (one, another, one, other_scope)] == [0, 1, 2, 0]
    assert [counts.count_of(label) for counts in (another, other_scope) for label in ("a", "b")] == [3, 0, 1, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_miss_in_a_worker_process_is_a_miss_of_the_test(replaying, make_aquila_huey):
    huey = make_aquila_huey("sqlite")

    @huey.task()
    def swallows():
        try:
            ask()
        except CassetteMiss:
            return "swallowed"

    @huey.task()
    def passes_on():
        return ask()

    with aquila.use_cassette("one") as cassette, use_test_queue(huey, storage="own"):
        with run_consumer("process", raise_errors=False) as consumer:
            assert consumer.wait(swallows()) == "swallowed"
        assert [miss.public_class for miss in cassette.misses] == [CassetteMiss]
        assert "provider.example" in str(cassette.misses[0])
        cassette.forget_misses()
        with pytest.raises(CassetteMiss, match="nothing is recorded"), run_consumer("process"):
            passes_on()
        assert len(cassette.misses) == 1
        cassette.forget_misses()


# The classes


def test_an_async_task_runs_and_fails_within_a_loop_too(huey, no_test):
    @huey.task(context=True)
    async def later(a, b=2, task=None):
        return [a // b, b, task.id]

    with use_test_queue(huey):
        run = perform_job(later, 1, b=3)
        assert run.value == [0, 3, run.task.id]

        async def within_a_loop():
            with pytest.raises(ZeroDivisionError):
                perform_job(later, 1, b=0)
            return perform_job(later, 4).value[:2]

        assert asyncio.run(within_a_loop()) == [2, 2]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal to a thread on this platform")
def test_an_interrupt_of_who_waits_for_an_async_task_within_a_loop_is_raised_and_leaves_the_task_alone(huey):
    interrupted, raised, ended = threading.Event(), threading.Event(), threading.Event()

    @huey.task()
    async def later():
        # Again and again: Python hears of a signal that comes just before the wait only after the wait.
        while not interrupted.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            await asyncio.sleep(0)
        try:
            while not raised.is_set():
                await asyncio.sleep(0)
            ended.set()
        finally:
            await asyncio.sleep(0)

    async def within_a_loop():
        with pytest.raises(KeyboardInterrupt):
            later.s().execute()
        raised.set()
        assert ended.wait(60)

    def interrupt(*_):
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        asyncio.run(within_a_loop())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_messages_are_no_pickles_unless_asked_for():
    assert isinstance(instances.MemoryHuey().serializer, MsgpackSerializer)
    assert instances.MemoryHuey(compression=True).serializer.comp
    pickling = Serializer()
    assert instances.MemoryHuey(serializer=pickling).serializer is pickling


def test_instrumenting_keeps_a_huey_and_its_tasks_and_happens_once():
    huey = plain.MemoryHuey("app")
    task = returning(huey, 1, name="task")
    task()
    state = dict(vars(huey))
    with pytest.warns(PickledMessages, match="the Huey 'app' reads pickles") as caught:
        assert instrumenting.instrument(instrumenting.instrument(huey)) is huey
    assert [warning.filename for warning in caught] == [__file__]
    assert isinstance(huey, plain.MemoryHuey)
    assert type(huey).__name__ == "MemoryHuey"
    assert {**vars(huey), "task_wrapper_class": None} == {**state, "task_wrapper_class": None}
    assert huey.execute(huey.dequeue()) == 1
    safe = plain.MemoryHuey(serializer=MsgpackSerializer())
    assert type(instrumenting.instrument(safe)) is type(huey)
    signed = plain.MemoryHuey(serializer=SignedSerializer("a secret of some length"))
    assert type(instrumenting.instrument(signed)) is type(huey)


def test_a_test_queue_instruments_for_its_own_time():
    huey = plain.MemoryHuey("app")
    with use_test_queue(huey):
        assert isinstance(huey, instances.AquilaHuey)
    assert type(huey) is plain.MemoryHuey
    assert huey.task_wrapper_class is plain.api.TaskWrapper


def test_immediate_mode_runs_in_the_scope_of_the_caller(no_test):
    huey = instances.MemoryHuey("app", immediate=True)

    @huey.task()
    def task():
        return scope_here()

    with aquila.use_cassette("one"):
        assert task()() == "one"


@pytest.mark.slow
def test_a_producer_without_any_scope_imports_nothing_of_cassettes():
    code = (
        "import sys; from aquila.huey.instances import MemoryHuey; huey = MemoryHuey()\n"
        "task = huey.task()(lambda: 1); task(); assert huey.execute(huey.dequeue()) == 1\n"
        "loaded = {'aquila.recording.scope', 'openai', 'httpx2', 'yaml'} & set(sys.modules); assert not loaded, loaded"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("AQUILA_RUN", "PYTHONPATH")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
