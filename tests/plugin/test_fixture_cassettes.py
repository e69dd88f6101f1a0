"""The cassettes of fixtures that send requests: for tests without one, at teardowns, in several processes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aquila.errors import CassetteMiss
from aquila.recording import runtime
from aquila.recording.reporting.miss_log import MissLog
from pytest_aquila import node_ids, report_redaction, scope_ends, suggested_commands, test_scopes
from pytest_aquila.fixture_cassettes import FixtureCassette
from pytest_aquila.recording_runs import second_attempts
from tests.plugin.conftest import Project
from tests.support.slow import nightly_but, slow_but


@pytest.mark.parametrize(
    "arguments",
    slow_but(["scope='package'", ""], ["scope='session'", "scope='package'", "scope='module'", "scope='class'", ""]),
)
@pytest.mark.parametrize("autouse", slow_but([False], [True, False]))
def test_a_fixture_of_tests_without_a_cassette_has_its_own(project: Project, arguments: str, autouse: bool) -> None:
    tests = f"""
        @pytest.fixture({arguments}{", " if arguments else ""}autouse={autouse})
        def answer():
            yield post("setup")
            assert post("teardown")

        class TestIt:
            def test_one(self, answer):
                assert answer == 1

            def test_two(self, answer):
                assert answer
        """
    name = "TestIt.@answer@test_app" if "class" in arguments else "@answer"
    project.record(tests=tests).assert_outcomes(passed=2)
    assert project.cassette_names == {f"test_app/{name}.yaml"}
    assert project.bodies(f"test_app/{name}") == [b'{"prompt":"setup"}', b'{"prompt":"teardown"}']
    recorded = project.calls
    for chosen in ((), ("-k", "test_one")):
        project.run(*chosen).assert_outcomes(passed=2 - len(chosen) // 2)
    project.record().assert_outcomes(passed=2)
    assert project.calls == recorded
    assert project.bodies(f"test_app/{name}") == [b'{"prompt":"setup"}', b'{"prompt":"teardown"}']


MIXED = """
@pytest.fixture(scope="session", autouse=True)
def shared():
    yield post("shared")
    post("end")

@pytest.fixture
def mine():
    return post("mine")

def test_unmarked(shared):
    pass

@pytest.mark.aquila
def test_marked(mine, shared):
    post("marked")

def test_with_cassette(mine, aquila_cassette):
    assert aquila_cassette.play_count + aquila_cassette.record_count == 1

def test_with_faults(mine, aquila_faults):
    pass

@pytest.mark.aquila("named")
def test_named(mine):
    pass

def test_block(mine):
    with aquila.use_cassette("block"):
        post("block")
"""


@pytest.mark.parametrize("first", slow_but(["unmarked"], ["unmarked", "marked", "with_cassette", "named", "block"]))
@pytest.mark.slow
def test_the_order_of_tests_does_not_decide_which_cassette_has_a_request(project: Project, first: str) -> None:
    project.pytester.makeconftest(
        f"def pytest_collection_modifyitems(items):\n    items.sort(key=lambda item: item.name != 'test_{first}')\n"
    )
    project.record(tests=MIXED).assert_outcomes(passed=6)
    assert project.cassette_names == {
        "named.yaml",
        "block.yaml",
        "test_app/@shared.yaml",
        "test_app/@mine.yaml",
        "test_app/test_marked.yaml",
        "test_app/test_with_cassette.yaml",
        "test_app/test_with_faults.yaml",
    }
    assert project.bodies("test_app/test_marked") == [b'{"prompt":"mine"}', b'{"prompt":"marked"}']
    assert project.bodies("test_app/@shared") == [b'{"prompt":"shared"}', b'{"prompt":"end"}']
    recorded = project.calls
    project.pytester.makeconftest("")
    project.run("-p", "no:randomly").assert_outcomes(passed=6)
    for test in ("unmarked", "marked", "with_cassette", "with_faults", "named", "block"):
        project.run("-k", f"test_{test}").assert_outcomes(passed=1)
    assert project.calls == recorded


def test_a_miss_at_the_teardown_of_a_fixture_is_an_error(project: Project) -> None:
    tests = """
        class TestRaises:
            @pytest.fixture(scope="class")
            @classmethod
            def answer(cls):
                yield post("setup")
                post("PROMPT")

            def test_one(self, answer): ...
            def test_two(self, answer): ...

        class TestSwallows:
            @pytest.fixture(scope="class")
            @classmethod
            def answer(cls):
                yield post("setup")
                try:
                    post("PROMPT")
                except BaseException:
                    pass

            def test_one(self, answer): ...
            def test_two(self, answer): ...

        def test_behind_it(): ...
        """
    project.record(tests=tests).assert_outcomes(passed=5)
    result = project.run("-p", "no:randomly", tests=tests.replace("PROMPT", "changed"))
    result.assert_outcomes(passed=5, errors=2)
    for name in ("TestRaises", "TestSwallows"):
        result.stdout.fnmatch_lines([f"*ERROR at teardown of {name}.test_two*", f"*{name}.@answer*.yaml*"])


def test_a_fixture_that_fails_keeps_what_it_recorded_beside_its_cassette(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="session")
        def answer():
            post("one")
            raise ValueError("no")

        def test_one(answer):
            pass
        """
    project.record(tests=tests).assert_outcomes(errors=1)
    assert project.cassette_names == {"test_app/@answer.pending.yaml"}


def test_a_block_that_a_fixture_keeps_open_changes_no_cassette_if_its_test_fails(project: Project) -> None:
    tests = """
        @pytest.fixture
        def block():
            with aquila.use_cassette("block"):
                yield

        @pytest.fixture(scope="module")
        def shared():
            with aquila.use_cassette("shared"):
                yield

        def test_block(block):
            assert not post("one")

        def test_passes(block):
            post("two")

        def test_shared(shared):
            assert not post("three")
        """
    project.record(tests=tests).assert_outcomes(failed=2, passed=1)
    assert project.cassette_names == {"block.pending.yaml", "block.yaml", "shared.yaml"}
    assert project.bodies("block") == [b'{"prompt":"two"}']


def test_a_block_that_a_fixture_keeps_open_replaces_nothing_if_its_test_skips_or_xfails(project: Project) -> None:
    tests = """
        @pytest.fixture(autouse=True)
        def block(request):
            with aquila.use_cassette(request.node.name):
                yield

        @pytest.mark.parametrize("end", [pytest.skip, pytest.xfail])
        def test_it(end):
            assert post("one") <= 2
        """
    project.record(tests=tests).assert_outcomes(passed=2)
    ending = tests.replace("assert", "post('two'), end('later') if").replace("<= 2", "else None")
    project.run("--aquila-record=all", tests=ending).assert_outcomes(skipped=1, xfailed=1)
    project.run(tests=tests.replace("<= 2", "<= 2 < post('two')")).assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", slow_but(["function"], ["function", "module"]))
def test_a_block_that_a_fixture_keeps_open_changes_no_cassette_if_the_run_is_interrupted(
    project: Project, scope: str
) -> None:
    tests = f"""
        @pytest.fixture(scope="{scope}")
        def block():
            with aquila.use_cassette("block"):
                yield

        def test_it(block):
            assert post('one') == 1
        """
    project.record(tests=tests).assert_outcomes(passed=1)
    result = project.run(
        "--aquila-record=all",
        tests=tests.replace("assert", "assert pytest.exit('enough') if 0 <").replace("== 1", "else 0"),
    )
    result.stdout.fnmatch_lines(["aquila: 1 recording waits in cassettes/.journal: block (1). *"])
    assert project.cassette_names == {"block.yaml"}
    project.run(tests=tests).assert_outcomes(passed=1)


def test_what_a_block_asks_before_a_skip_or_an_xfail_leaves_it_is_stored(project: Project) -> None:
    tests = """
        import unittest

        ENDS = [pytest.skip.Exception, unittest.SkipTest, pytest.xfail.Exception]

        @pytest.mark.parametrize("end", ENDS)
        def test_it(end):
            with aquila.use_cassette(f"block-{ENDS.index(end)}"):
                raise end(f"later, as {post('one')}")

        @pytest.fixture
        def block():
            with aquila.use_cassette("block-failed"):
                yield
                pytest.skip("at the end")

        def test_failing(block):
            assert post("two") == 0
        """
    project.record(tests=tests).assert_outcomes(skipped=3, xfailed=1, failed=1)
    project.run("-k", "test_it").assert_outcomes(skipped=2, xfailed=1)
    stored = {"block-0.yaml", "block-1.yaml", "block-2.yaml"}
    assert project.cassette_names == {*stored, "block-failed.pending.yaml"}


def test_what_a_fixture_asks_before_it_skips_or_xfails_is_stored(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="session")
        def skipping():
            pytest.skip(f"later, as {post('one')}")

        @pytest.fixture(scope="session")
        def failing():
            pytest.xfail(f"later, as {post('two')}")

        def test_skip(skipping): ...
        def test_xfail(failing): ...
        """
    project.record(tests=tests).assert_outcomes(skipped=1, xfailed=1)
    project.run().assert_outcomes(skipped=1, xfailed=1)
    assert project.cassette_names == {"test_app/@skipping.yaml", "test_app/@failing.yaml"}


def test_what_a_fixture_records_for_each_value_of_another_is_kept(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="session", params=["a", "b"])
        def model(request):
            return request.param

        @pytest.fixture(scope="session")
        def answer(model):
            return post(model)

        def test_one(answer):
            pass
        """
    project.record(tests=tests).assert_outcomes(passed=2)
    project.record("-k", "[a]").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=2)
    assert len(project.calls) == 2


def test_only_requests_to_models_are_in_the_cassette_of_a_fixture_of_the_whole_run(project: Project) -> None:
    tests = """
        import http.server, threading
        import httpx2

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        @pytest.fixture(scope="session")
        def service():
            server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            post("warm up")
            with httpx2.Client() as client:
                yield client.get(f"http://127.0.0.1:{server.server_port}/health").status_code
            server.shutdown()
            server.server_close()
            thread.join()

        def test_one(service):
            assert service == 200

        @pytest.mark.aquila
        def test_two(service):
            assert service == 200
        """
    project.pytester.makeini("[pytest]\naquila_loopback = all\n")
    project.record(tests=tests).assert_outcomes(passed=2)
    assert project.bodies("test_app/@service") == [b'{"prompt":"warm up"}']
    project.run("-k", "test_two").assert_outcomes(passed=1)
    marked = tests.replace('scope="session"', 'scope="module"') + "\n        pytestmark = pytest.mark.aquila\n"
    project.record(tests=marked).assert_outcomes(passed=2)
    assert project.bodies("test_app/@service") == [b'{"prompt":"warm up"}', b""]  # all that its module asks


def test_a_fixture_that_asks_for_another_while_it_is_set_up_keeps_its_own_cassette(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="session")
        def inner():
            yield post("inner")
            post("inner end")

        @pytest.fixture(scope="session")
        def outer(request):
            post("before")
            request.getfixturevalue("inner")
            yield post("after")
            post("outer end")

        def test_one(outer):
            pass
        """
    project.record(tests=tests).assert_outcomes(passed=1)
    assert project.bodies("test_app/@inner") == [b'{"prompt":"inner"}', b'{"prompt":"inner end"}']
    asked = [b'{"prompt":"before"}', b'{"prompt":"after"}', b'{"prompt":"outer end"}']
    assert project.bodies("test_app/@outer") == asked
    project.run().assert_outcomes(passed=1)


def test_a_block_that_a_fixture_keeps_open_answers_other_fixtures_and_tests(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="session", autouse=True)
        def everything():
            with aquila.use_cassette("all"):
                yield

        @pytest.fixture(scope="module")
        def answer(everything):
            return post("fixture")

        def test_one(answer):
            post("one")

        @pytest.mark.aquila
        def test_two(answer):
            post("two")
        """
    project.record(tests=tests).assert_outcomes(passed=2)
    assert "all.yaml" in project.cassette_names
    project.run().assert_outcomes(passed=2)
    project.run("-k", "test_two").assert_outcomes(passed=1)


def test_what_misses_within_a_block_of_a_shared_fixture_belongs_to_the_running_test(project: Project) -> None:
    tests = """
        @pytest.fixture(scope="module", autouse=True)
        def block():
            with aquila.use_cassette("all"):
                yield

        def test_one():
            post("one")

        def test_two():
            with aquila.use_cassette("two"):
                post("two")

        def test_three(aquila_cassette):
            post("three")

        def test_four():
            post("four")

        def test_five():
            pass
        """
    result = project.run("-p", "no:randomly", tests=tests)
    result.assert_outcomes(failed=4, passed=1)  # and no error when the block ends
    failures = [line.split() for line in result.outlines if line.startswith("E ") and "--aquila-record" in line]
    assert [words[2] for words in failures] == [f"test_app.py::test_{name}" for name in ("one", "two", "three", "four")]
    result.stdout.fnmatch_lines(
        ["aquila: 4 tests ask what is not recorded: *", "aquila: 0 replayed, 0 recorded, 4 missed"]
    )
    result = project.run("--aquila-drift")
    result.stdout.fnmatch_lines(["aquila: 4 tests with nothing recorded for what is asked"])


def test_after_a_fixture_has_given_its_test_a_cassette_its_teardown_uses_that_cassette(project: Project) -> None:
    tests = """
        @pytest.fixture(autouse=True)
        def cassette(request):
            request.getfixturevalue("aquila_cassette")
            yield
            post("teardown")

        def test_one():
            post("test")
        """
    project.record(tests=tests).assert_outcomes(passed=1)
    assert project.cassette_names == {"test_app/test_one.yaml"}
    assert project.bodies("test_app/test_one") == [b'{"prompt":"test"}', b'{"prompt":"teardown"}']
    project.run().assert_outcomes(passed=1)


def test_fixtures_of_live_tests_are_live(project: Project) -> None:
    tests = """
        from aquila.recording import scope

        @pytest.fixture(scope="module")
        def answer():
            return scope.find_surroundings().settings.transport

        @pytest.mark.aquila_live
        def test_one(answer):
            assert answer == "live"
        """
    project.run(tests=tests).assert_outcomes(passed=1)


def test_a_client_that_a_fixture_makes_before_the_cassette_of_the_test_needs_no_key(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    tests = """
        import openai

        @pytest.fixture(scope="session")
        def shared_client():
            return openai.OpenAI()

        @pytest.fixture
        def client():
            return openai.OpenAI()

        def test_one(shared_client, client, aquila_cassette):
            pass
        """
    project.run(tests=tests).assert_outcomes(passed=1)


def test_the_secrets_of_a_fixture_stay_out_of_the_reports_of_all_its_tests(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdefghijklmnop")
    tests = """
        import os

        @pytest.fixture(scope="module")
        def answer():
            post("one")
            raise ValueError("rejected " + os.environ["OPENAI_API_KEY"])

        def test_one(answer):
            pass

        def test_two(answer):
            pass
        """
    result = project.record(tests=tests)
    result.assert_outcomes(errors=2)
    assert "0123456789abcdefghijklmnop" not in result.stdout.str()


@pytest.mark.parametrize("dist", nightly_but(["load", "each"], ["load", "each", "loadscope", "worksteal"]))
def test_workers_of_xdist_each_set_a_fixture_up_from_one_cassette(project: Project, dist: str) -> None:
    pytest.importorskip("xdist")
    project.pytester.makepyfile(
        test_app="""
        import pytest
        from app import post

        @pytest.fixture(scope="session", autouse=True)
        def shared(worker_id):
            yield post("shared")
            post("end")

        @pytest.mark.parametrize("number", range(6))
        def test_it(number, shared):
            assert shared
        """
    )
    count = 12 if dist == "each" else 6
    distribution = ["--dist=each", "--tx=2*popen"] if dist == "each" else [f"--dist={dist}", "-n2"]
    arguments = ["-p", "no:cacheprovider", f"--aquila-upstream={project.module}:transport"]
    for extra in ([*distribution, "--aquila-record"], distribution, ["-n0"]):
        result = project.pytester.runpytest_subprocess(*arguments, *extra)
        result.assert_outcomes(passed=6 if extra == ["-n0"] else count)
    assert project.bodies("test_app/@shared") == [b'{"prompt":"shared"}', b'{"prompt":"end"}']


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))  # kept, and so nobody else's; it never listens
        yield kept.getsockname()[1]


@pytest.mark.parametrize("providers", ["", "aquila_providers = 127.0.0.1\n"])
def test_a_fixture_may_ask_a_model_on_this_machine_by_any_client(
    project: Project, providers: str, closed_port: int
) -> None:
    # The cassette of such a fixture opens only with its first request. That of a test is open before the test begins.
    tests = f"""
        import asyncio
        import aiohttp, requests

        URL = "http://127.0.0.1:{closed_port}/v1/chat/completions"

        @pytest.fixture
        def by_requests():
            return requests.post(URL, json={{"prompt": "warm up"}}).json()["answer"]

        @pytest.fixture(scope="session")
        def by_aiohttp():
            async def ask():
                async with aiohttp.ClientSession() as session:
                    async with session.post(URL, json={{"prompt": "warm up"}}) as answer:
                        return (await answer.json())["answer"]

            return asyncio.run(ask())

        def test_requests(by_requests):
            assert by_requests == 1

        def test_aiohttp(by_aiohttp):
            assert by_aiohttp == 2
        """
    project.pytester.makeini(f"[pytest]\n{providers}")
    project.record("-p", "no:randomly", tests=tests).assert_outcomes(passed=2)
    assert project.cassette_names == {"test_app/@by_requests.yaml", "test_app/@by_aiohttp.yaml"}
    project.run().assert_outcomes(passed=2)
    assert len(project.calls) == 2


def test_a_fixture_that_several_tests_use_is_shared_once_it_is_set_up(project: Project) -> None:
    project.record(
        tests="""
        from aquila.recording.scope import current_scope

        @pytest.fixture(scope="module")
        def wide():
            post("wide")
            assert not current_scope().is_shared
            yield
            assert current_scope().is_shared

        @pytest.fixture
        def own():
            post("own")
            yield
            assert not current_scope().is_shared

        def test_it(wide, own): pass
        """
    ).assert_outcomes(passed=1)


def made_for(fixture: Any, *, node: Any = None, run: Any = None, **item: Any) -> FixtureCassette:
    """The cassette of a fixture outside of a run of pytest."""
    config = SimpleNamespace(stash={test_scopes.RUN: run})
    request = SimpleNamespace(node=node)
    asking = SimpleNamespace(config=config, get_closest_marker=lambda name: None, **item)
    return FixtureCassette(fixture, request, asking)  # type: ignore[arg-type]


SHARED: Any = SimpleNamespace(argname="shared", scope="module")


def scope_with(miss: CassetteMiss, closed: list[Any], log: MissLog | None = None) -> Any:
    """A scope of a client with its own socket, in which a request misses while the scope ends."""
    log = MissLog() if log is None else log
    run = SimpleNamespace(test=None, scopes=SimpleNamespace(remove=print, announce_end=lambda _: log.remember(miss)))
    close = lambda **options: closed.append(options)  # noqa: E731
    misses = SimpleNamespace(hear=lambda is_last=False: log)
    sessions = SimpleNamespace(unusable=())
    return SimpleNamespace(has_listeners=True, misses=misses, sessions=sessions, run=run, settings=None, close=close)


def test_a_miss_of_an_answer_in_progress_is_one_of_the_teardown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_ends, "add_report", print)
    miss, closed = CassetteMiss("x"), list[Any]()
    scope = scope_with(miss, closed)
    cassette = made_for(SHARED, run=scope.run)
    cassette._scope = scope
    cassette.end_teardown()
    assert test_scopes.take_teardown_misses(cassette._item.config) == [miss]
    assert closed == [{"passed": False, "adds_only": False}]


def test_a_drift_in_a_setup_is_a_reason_to_run_the_test_again(monkeypatch: pytest.MonkeyPatch) -> None:
    miss, log, planned = CassetteMiss("x"), MissLog(), list[Any]()
    log.remember(miss)
    scope = scope_with(miss, [], log)
    cassette = made_for(SHARED, run=scope.run)
    cassette._scope = scope
    monkeypatch.setattr(second_attempts, "plan_second_attempt", lambda item, misses: planned.extend(misses))
    monkeypatch.setattr(report_redaction, "redact_reports_for", print)
    monkeypatch.setattr(scope_ends, "add_report", print)
    cassette._close_after(miss)
    assert planned == [miss]


@pytest.mark.parametrize(("scope", "shared"), [("module", {"KEY": None}), ("function", {})])
def test_variables_that_a_fixture_of_several_tests_sets_are_remembered_for_all(
    scope: str, shared: dict[str, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "set_variables", lambda: SimpleNamespace(count=0, since=lambda before: ["KEY"]))
    run = SimpleNamespace(shared_variables={})
    with made_for(SimpleNamespace(argname="key", scope=scope), run=run)._remembering_variables():
        pass
    assert run.shared_variables == shared


@pytest.mark.parametrize(("scope", "is_test"), [("module", False), ("function", True)])
def test_a_fixture_of_one_test_asks_for_that_test(scope: str, is_test: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[runtime.Asker] = []

    @contextlib.contextmanager
    def running_test(name: str, open_scope: object, mark: runtime.Asker) -> Iterator[None]:
        asked.append(mark)
        yield

    test = SimpleNamespace(mark=runtime.Asker("test_it", is_test=True))
    scopes = SimpleNamespace(surrounding=lambda: ())
    run = SimpleNamespace(
        lock=contextlib.nullcontext(), scopes=scopes, test=test, test_name="test_it", running_test=running_test
    )
    cassette = made_for(SimpleNamespace(argname="data", scope=scope), run=run)
    monkeypatch.setattr(cassette, "_may_be_used_by_children", lambda: False)
    with cassette._answer():
        pass
    assert [each.is_test for each in asked] == [is_test]


@pytest.mark.parametrize("kept", [0, 1], ids=["setup", "teardown"])
def test_a_thread_that_is_late_opens_no_scope_of_a_fixture_that_has_ended(kept: int, project: Project) -> None:
    tests = f"""
        from aquila.recording import runtime

        running = []  # what a thread finds that looks for its scope, and goes on only later

        @pytest.fixture
        def prepared():
            running.append(runtime.current_run().test)
            yield
            running.append(runtime.current_run().test)

        def test_one(prepared):
            if not {kept}:
                test_two()

        def test_two():
            running[{kept}].open_scope()
            assert not runtime.current_run().scopes

        def test_three(aquila_cassette):
            assert post("three") == 1
        """
    project.record(tests=tests).assert_outcomes(passed=3)


def test_faults_of_a_marker_are_for_the_tests_and_not_for_their_fixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_ids, "id_of", lambda node: node.nodeid)
    marker = pytest.mark.aquila(faults="server_error", repeat="last").mark
    node = SimpleNamespace(nodeid="TestIt", iter_markers=lambda: [marker])
    assert made_for(SHARED, node=node)._options() == {"repeat": "last"}


@pytest.mark.parametrize(
    ("count", "named"),
    [(10, [f"test_app.py::test_{n}" for n in range(10)]), (11, ["test_app.py"]), (0, ["test_x.py::it"])],
)
def test_a_command_names_the_tests_that_use_a_fixture_or_if_they_are_many_their_files(
    count: int, named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def test(name: str, *fixtures: object) -> Any:
        return SimpleNamespace(_fixtureinfo=SimpleNamespace(name2fixturedefs={"shared": fixtures}), id=name)

    users = [test(f"test_app.py::test_{n}", SHARED) for n in range(count)]
    session = SimpleNamespace(items=[*users, test("test_y.py::test_that_does_not")])
    monkeypatch.setattr(node_ids, "id_to_type", lambda item: item.id)
    monkeypatch.setattr(suggested_commands, "complete_command", lambda config, command: command)
    command = made_for(SHARED, session=session, id="test_x.py::it")._record_all_command()
    assert command == f"pytest {' '.join(named)} --aquila-record=all"
