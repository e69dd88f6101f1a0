"""Locks that other threads hold at a fork do not block the child, and Ctrl-C leaves no lock held."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

import aquila
from aquila import fork_locks, lazy_imports
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.redaction import redactor, request_credentials
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.intercept import patching
from aquila.lazy_imports import lazy_modules
from aquila.recording.runtime import set_variables
from aquila.recording.secrets import redactors
from aquila.recording.sessions import session
from aquila.recording.storing import answers_in_progress, record_budget
from tests.support.forked import LIMIT, do_in_child
from tests.support.http_server import LoopbackServer
from tests.support.runs import separate_run

SOURCE = Path(__file__).parent.parent / "src"

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
in_threads = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with LoopbackServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@contextmanager
def held_elsewhere(locks: list[Any]) -> Iterator[None]:
    """Hold locks in another thread."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        taken = [lock for lock in locks if lock.acquire(blocking=False)]
        held.set()
        release.wait()
        for lock in taken:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        release.set()
        thread.join()


@forks
@in_threads
@pytest.mark.parametrize("transport", ["record", "replay"])
def test_a_child_can_send_requests_although_threads_of_its_parent_hold_every_lock(
    transport: str, url: str, tmp_path: Path
) -> None:
    def ask(client: httpx2.Client, number: int) -> str:
        return client.post(url, json=number, headers={"authorization": "Bearer aB3dE5gH7jK9mN1pQ3sT"}).text

    def ask_twice(how: str, second: Callable[[Callable[[], object]], object]) -> None:
        with aquila.use_cassette("x", transport=how, loopback="all"), httpx2.Client() as client:
            ask(client, 1)
            second(lambda: ask(client, 2))

    with separate_run(tmp_path):
        if transport == "replay":
            ask_twice("record", lambda work: work())

        def in_child(work: Callable[[], object]) -> None:
            with held_elsewhere(list(fork_locks._renewed)):
                assert do_in_child(work) == 0

        ask_twice(transport, in_child)
    assert len(load_cassette(tmp_path / "cassettes" / "x.yaml").interactions) == 2


@forks
@in_threads
@pytest.mark.parametrize("kind", ["RLock", "_PyRLock"])  # gevent puts one like the second in the place of the first
def test_a_lock_that_the_forking_thread_holds_stays_its_own(kind: str) -> None:
    lock: Any = fork_locks.renewed_in_child(getattr(threading, kind)())

    def release_and_take_again() -> None:
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()
        assert lock.acquire(blocking=False)

    with lock:
        assert do_in_child(release_and_take_again) == 0


@forks
@in_threads
def test_a_child_can_import_a_module_that_a_thread_of_its_parent_was_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module.py").write_text(
        "import threading\nthreading.begun.set()\nthreading.release.wait(0.2)\nx = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(threading, "begun", threading.Event(), raising=False)
    monkeypatch.setattr(
        threading, "release", threading.Event(), raising=False
    )  # set by nobody: the fork waits for 0.2 s
    namespace: dict[str, Any] = {}
    lazy_modules(namespace, "slow_module")
    first = namespace["slow_module"]
    thread = threading.Thread(target=lambda: first.x)
    thread.start()
    threading.begun.wait()  # type: ignore[attr-defined]
    assert do_in_child(lambda: first.x) == 0
    thread.join()


@forks
@in_threads
def test_a_fork_waits_for_imports_before_it_takes_the_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library that sets a variable when it is imported."""

    class Importing:
        begun, fork_has_begun = threading.Event(), threading.Event()
        lock = threading.Lock()

    def tell_and_wait() -> None:
        Importing.fork_has_begun.set()
        lazy_imports.wait_for_imports()

    (tmp_path / "locking_module.py").write_text(
        f"import threading\nat = threading.importing\nat.begun.set()\nat.fork_has_begun.wait({LIMIT})\n"
        f"got = at.lock.acquire(timeout={LIMIT})\nat.lock.release()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(threading, "importing", Importing, raising=False)
    monkeypatch.setattr(fork_locks, "_held", [Importing.lock])
    monkeypatch.setattr(fork_locks, "wait_for_imports", tell_and_wait)
    monkeypatch.setattr(patching, "wait_before_fork", lambda *_: True)  # that of this run, which catches clients
    thread = threading.Thread(target=lazy_imports.import_module, args=("locking_module",))
    thread.start()
    Importing.begun.wait()
    assert do_in_child(lambda: lazy_imports.import_module("locking_module")) == 0
    thread.join()
    assert lazy_imports.import_module("locking_module").got is True


@forks
@in_threads
def test_a_fork_does_not_deadlock_with_a_thread_that_takes_locks_in_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the garbage collector ends an answer, which takes another lock, in a thread that holds one of them."""
    first, second = threading.Lock(), threading.Lock()
    monkeypatch.setattr(fork_locks, "_held", [first, second])
    second_is_held, got_first = threading.Event(), []

    def hold_second_and_take_first() -> None:
        with second:
            second_is_held.set()
            while first.acquire(blocking=False):  # until the fork has taken it
                first.release()
            got_first.append(first.acquire(timeout=LIMIT))
            first.release()

    def take_both() -> None:
        assert first.acquire(blocking=False)
        assert second.acquire(blocking=False)

    thread = threading.Thread(target=hold_second_and_take_first)
    thread.start()
    second_is_held.wait()
    assert do_in_child(take_both) == 0
    thread.join()
    assert got_first == [True]
    assert not first.locked()
    assert not second.locked()


TWO_FORKS = """
import os, threading
from contextlib import suppress
from aquila import fork_locks
from aquila.cassettes import object_memo  # has such a lock

meeting, met, ends = threading.Barrier(2), [], []


def meet():
    with suppress(threading.BrokenBarrierError):  # nobody comes
        met.append(meeting.wait(timeout=1))


def fork():
    child = os.fork()
    if child == 0:
        os._exit(0 if all(lock.acquire(timeout=10) for lock in fork_locks._held) else 1)
    ends.append(os.waitpid(child, 0)[1])


fork_locks.call_around_forks(meet, lambda *, in_child: None)
threads = [threading.Thread(target=fork) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(met, ends, all(lock.acquire(blocking=False) for lock in fork_locks._held))
"""


@forks
def test_threads_that_fork_at_once_fork_one_after_the_other() -> None:
    # In a process of its own, because modules such as `concurrent.futures` hold a lock of theirs at each fork as well.
    # A child of this run loads some of them.
    alone = {name: value for name, value in os.environ.items() if name not in ("AQUILA_RUN", "PYTHONPATH")}
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", TWO_FORKS]
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=True, timeout=LIMIT)
    assert (done.stdout, done.stderr) == ("[] [0, 0] True\n", "")


@forks
def test_after_ctrl_c_in_a_fork_other_threads_can_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    class Struck:
        """The lock of forks, where Ctrl-C comes just after it was taken for the first time."""

        def __init__(self) -> None:
            self.lock = threading.RLock()
            self.is_struck = False

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            got = self.lock.acquire(blocking, timeout)
            if not self.is_struck:
                self.is_struck = True
                raise KeyboardInterrupt
            return got

        def __getattr__(self, name: str) -> Any:
            return getattr(self.lock, name)

    struck = Struck()
    monkeypatch.setattr(fork_locks, "_forking", struck)
    fork_locks._prepare()
    fork_locks._go_on(in_child=False)
    lazy_imports.interrupts.clear()
    got: list[bool] = []
    other = threading.Thread(target=lambda: got.append(struck.acquire(blocking=False)))
    other.start()
    other.join()
    assert got == [True]


def test_ctrl_c_while_a_fork_looks_for_imports_skips_no_other_step() -> None:
    def interrupt() -> bool:
        raise KeyboardInterrupt

    try:
        # Python prints what a hook of a fork raises, and goes on without what the hook had still to do.
        assert lazy_imports.wait_before_fork(interrupt, LIMIT)
        assert list(map(type, lazy_imports.interrupts)) == [KeyboardInterrupt]
    finally:
        lazy_imports.interrupts.clear()


@forks
@pytest.mark.parametrize("at", ["the beginning", "a release"])
def test_locks_that_a_fork_kept_because_of_ctrl_c_are_released_by_the_next_fork(
    monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    class Struck:
        """A lock where Ctrl-C comes just after it was released for the first time."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.is_struck = at == "the beginning"

        def release(self) -> None:
            self.lock.release()
            if not self.is_struck:
                self.is_struck = True
                raise KeyboardInterrupt

        def __getattr__(self, name: str) -> Any:
            return getattr(self.lock, name)

    first, struck, told = threading.Lock(), Struck(), []
    monkeypatch.setattr(fork_locks, "_held", [first, struck])
    monkeypatch.setattr(fork_locks, "_around", [(lambda: None, lambda *, in_child: told.append(in_child))])
    fork_locks._prepare()
    if at == "a release":
        with pytest.raises(KeyboardInterrupt):
            fork_locks._go_on(in_child=False)
    assert (first.locked(), told) == (True, [])
    fork_locks._prepare()
    fork_locks._go_on(in_child=False)
    assert (first.locked(), struck.locked(), told) == (False, False, [False])
    assert not fork_locks._forking._is_owned()  # type: ignore[attr-defined]


def test_every_other_lock_says_why_a_child_does_not_need_it() -> None:
    bare = re.compile(r"(?<!renewed_in_child\()(?<!held_at_fork\()(?<!type\()threading\.(R?Lock|Condition)\(")
    silent = []
    for path in SOURCE.rglob("*.py"):
        lines = path.read_text("utf-8").split("\n")
        for number, line in enumerate(lines):
            if bare.search(line) and "fork" not in "".join(lines[max(0, number - 5) : number + 1]).lower():
                silent.append(f"{path.relative_to(SOURCE)}:{number + 1}")
    assert silent == [], "put it into renewed_in_child or held_at_fork, or say in a comment why a fork does no harm"


def test_only_commands_have_properties_that_python_3_11_caches_under_a_lock_of_all_objects() -> None:
    files = [path for path in SOURCE.rglob("*.py") if "cached_property" in path.read_text("utf-8")]
    assert {path.relative_to(SOURCE).parts[1] for path in files} == {"cli"}


class Collecting:
    """A lock under which the garbage collector always runs."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def __enter__(self) -> None:
        self.lock.acquire()
        gc.collect()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


@forks
@in_threads
@pytest.mark.parametrize("module", [session, journal, record_budget, answers_in_progress])
def test_an_answer_that_the_garbage_collector_ends_does_not_deadlock_with_its_thread(
    module: ModuleType, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "renewed_in_child", Collecting)

    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}

    def begin_and_leave(client: httpx2.Client, number: int) -> None:
        def read() -> Iterator[bytes]:
            with client.stream("POST", url, json={"number": number, "usage": usage}) as answer:
                yield from answer.iter_raw(10)

        reading = read()
        next(reading)
        cycle: list[Any] = [reading]
        cycle.append(cycle)

    def record() -> None:
        gc.disable()  # it runs under the lock alone
        with separate_run(tmp_path) as run:
            run.answers_in_progress = answers_in_progress.AnswersInProgress()
            run.state_of(record_budget.RecordBudget).path = str(tmp_path / "count")
            with aquila.use_cassette("x", transport="record", loopback="all"), httpx2.Client() as client:
                for number in range(4):
                    begin_and_leave(client, number)
                    client.post(url, json=number)

    monkeypatch.setenv("AQUILA_RECORD_BUDGET", "100 requests")
    assert do_in_child(record) == 0  # in a child, which is ended if it waits for itself
    assert len(load_cassette(tmp_path / "cassettes" / "x.yaml").interactions) == 8


@forks
@in_threads
def test_tokens_that_are_added_during_a_count_are_counted(tmp_path: Path) -> None:
    def count() -> None:
        budget = record_budget.RecordBudget()
        budget.path = str(tmp_path / "count")
        with budget._changing():
            budget.add_tokens(5)
        assert budget.spent() == record_budget.Spent(0, 5)

    assert do_in_child(count) == 0


def test_credentials_are_redacted_although_ctrl_c_interrupted_their_examination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "aB3dE5gH7jK9mN1pQ3sT"
    redacting = redactor.Redactor()
    redacting.choose_headers((("authorization", f"Bearer {key}"),))
    with monkeypatch.context() as patch:
        patch.setattr(request_credentials, "credentials_in", interrupt)
        with pytest.raises(KeyboardInterrupt):
            redacting.redact_text("x")
    assert key not in redacting.redact_text(f"the key is {key}")


def test_secrets_of_variables_are_redacted_although_ctrl_c_interrupted_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = "aB3dE5gH7jK9mN1pQ3sT"
    with separate_run(tmp_path), set_variables().noting():
        redacting = redactors.redactor_for(MatchRules())
        monkeypatch.setenv("SOME_TOKEN", key)
        with monkeypatch.context() as patch:
            patch.setattr(redactors, "_secrets_among", interrupt)
            with pytest.raises(KeyboardInterrupt):
                redacting.redact_text("x")
        assert key not in redacting.redact_text(f"the key is {key}")


def interrupt(*_: object) -> Any:
    raise KeyboardInterrupt
