"""The guard and the dummy keys hold from before the first conftest until the interpreter ends, however a run ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquila.intercept.provider_keys import dummies_for_answers
from tests.support.real_hosts import real_hosts
from tests.support.slow import nightly_but, slow_but
from tests.support.upstream import Answer, Upstream

KEY = "machines-own-key-1234567890"

ASKING = """
    import http.client, os, sys, threading
    import httpx2, requests

    URL = "https://api.openai.com/v1/chat/completions"

    def ask():
        \"\"\"Ask with the key that the environment shows, in three ways. Returns what came of each.\"\"\"
        key = {"authorization": "Bearer " + os.environ.get("OPENAI_API_KEY", "none")}
        came = []
        for way in (
            lambda: httpx2.post(URL, headers=key, json={}),
            lambda: requests.post(URL, headers=key, json={}, timeout=60),
            lambda: http.client.HTTPSConnection("api.openai.com").request("POST", "/v1/embeddings", "{}", key),
        ):
            try:
                way()
                came.append("answered")
            except BaseException as error:
                came.append(type(error).__name__)
        return came

    def note(what):
        with open(os.path.join(os.path.dirname(__file__), "noted.txt"), "a") as file:
            print(what, *ask(), os.environ.get("OPENAI_API_KEY"), file=file)
"""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A machine with a real key, and the provider under its real name."""
    for name in (*dummies_for_answers(()), "AQUILA_RUN", "PYTHONPATH", "PYTEST_XDIST_WORKER", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with real_hosts("api.openai.com", script=lambda path, body: Answer()) as running:
        yield running


SCRIPT = str(Path(sys.executable).with_name("pytest"))


class Folder:
    """A project in a folder. ``notes`` are what its code has noted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(asking=ASKING)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            file = self.path / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(textwrap.dedent(text))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        begin = command or ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist")
        return subprocess.run(
            [sys.executable, *begin], cwd=self.path, capture_output=True, text=True, check=False, timeout=300
        )

    @property
    def notes(self) -> dict[str, str]:
        file = self.path / "noted.txt"
        rows = file.read_text().splitlines() if file.exists() else []
        return dict(row.split(" ", 1) for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Folder(tmp_path)


REFUSED = "LiveCallRefused LiveCallRefused LiveCallRefused aquila-no-key"
FREE = f"answered answered answered {KEY}"

LEFT = """
    import atexit, asyncio, concurrent.futures, threading, weakref
    import asking

    over = threading.Event()

    def late(name):
        over.wait(60)
        asking.note(name)

    class Left:
        def __del__(self):
            asking.note("finalizer")

    def test_leaves_everything():
        threading.Thread(target=late, args=("thread",)).start()
        threading.Thread(target=late, args=("daemon",), daemon=True).start()
        pool.submit(late, "executor")
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever).start()
        asyncio.run_coroutine_threadsafe(in_loop(loop), loop)
        atexit.register(asking.note, "atexit")
        weakref.finalize(asking, asking.note, "weakref")

    async def in_loop(loop):
        await loop.run_in_executor(None, over.wait, 60)
        asking.note("loop")
        try:
            await loop.shutdown_default_executor()
        finally:  # Python 3.12 begins no thread any more, which this needs
            loop.stop()

    pool = concurrent.futures.ThreadPoolExecutor(1)
    LEFT = Left()
"""
"""A test that leaves threads, an executor, a loop and a finalizer, which ask when the run is over."""

OVER = """
    import pytest

    def pytest_unconfigure(config):
        # When pytest has ended everything else: after the summary, and after what others clean up. What is registered
        # last is called first: an executor waits there for its threads.
        import sys, threading
        threading._register_atexit(sys.modules["test_left"].over.set)
"""


@pytest.mark.slow
def test_what_outlives_the_run_is_refused_until_the_interpreter_ends(folder: Folder, provider: Upstream) -> None:
    folder.write(test_left=LEFT, conftest=OVER)
    done = folder.run()
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    noted = folder.notes
    assert noted.keys() >= {"thread", "executor", "loop", "atexit", "weakref"}
    assert {name: row for name, row in noted.items() if row != REFUSED and name != "finalizer"} == {}
    assert "answered" not in str(noted)
    assert KEY not in str(noted)
    assert provider.requests == []
    told = [line for line in done.stderr.splitlines() if line.startswith("aquila: ")]
    assert "aquila: after the tests, POST https://api.openai.com/v1/chat/completions was refused" in str(told)
    assert len(told) == len(set(told))


WAYS_TO_END = {
    "passes": ("def test_it(): pass", 0),
    "fails": ("def test_it(): assert 0", 1),
    "Ctrl-C": ("import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGINT)", 2),
    "exit": ("import pytest\ndef test_it(): pytest.exit('enough')", 2),
    "cannot be imported": ("import no_such_module", 2),
    "has no tests": ("", 5),
    "internal error": ("def test_it(): pass", 3),
    "usage error": ("def test_it(): pass", 4),
    "unknown option": ("def test_it(): pass", 4),
    "conftest fails": ("def test_it(): pass", 4),
}


@pytest.mark.parametrize("how", nightly_but(["passes", "Ctrl-C", "internal error", "conftest fails"], WAYS_TO_END))
def test_however_a_run_ends_the_guard_stays(how: str, folder: Folder, provider: Upstream) -> None:
    test, code = WAYS_TO_END[how]
    conftest = "import asking, atexit\nasking.note('conftest')\natexit.register(asking.note, 'atexit')\n"
    conftest += {
        "internal error": "def pytest_runtest_protocol(): raise ValueError",
        "usage error": "import pytest\ndef pytest_configure(): raise pytest.UsageError('wrong')",
        "conftest fails": "raise ValueError",
    }.get(how, "")
    folder.write(test_it=test, conftest=conftest)
    options = ["--no-such-option"] if how == "unknown option" else []
    done = folder.run("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert folder.notes == {"conftest": REFUSED, "atexit": REFUSED}
    assert provider.requests == []


@pytest.mark.parametrize("started", slow_but([["-m", "pytest"]], [["-m", "pytest"], [SCRIPT]]), ids=["-m", "script"])
@pytest.mark.slow
def test_every_conftest_is_guarded_when_it_is_imported(started: list[str], folder: Folder, provider: Upstream) -> None:
    folder.write(
        conftest="import asking\nasking.note('root')",
        below__conftest="import asking\nasking.note('below')",
        below__test_it="import asking\nasking.note('module')\ndef test_it(): pass",
    )
    done = folder.run(*started, "-p", "no:cacheprovider", "--rootdir", ".", "-c", "pytest.ini")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert folder.notes == dict.fromkeys(("root", "below", "module"), REFUSED)
    assert provider.requests == []


@pytest.mark.parametrize("where", slow_but(["conftest"], ["conftest", "below__conftest", "below__test_it"]))
@pytest.mark.slow
def test_a_model_that_is_asked_at_import_is_an_error_that_says_so(
    where: str, folder: Folder, provider: Upstream
) -> None:
    folder.write(below__test_it="def test_it(): pass")
    folder.write(**{where: "import asking, httpx2\nhttpx2.post(asking.URL)\ndef test_it(): pass"})
    done = folder.run()
    shown = done.stdout + done.stderr
    assert done.returncode == (4 if where == "conftest" else 2), shown
    assert "POST https://api.openai.com/v1/chat/completions was refused" in shown
    assert f"{where.replace('__', '/')}.py" in shown
    assert "INTERNALERROR" not in shown
    assert provider.requests == []


@pytest.mark.parametrize(
    "workers", slow_but([("-p", "no:xdist")], [("-p", "no:xdist"), ("-n", "1")]), ids=["one process", "workers"]
)
@pytest.mark.slow
def test_a_refusal_that_is_swallowed_where_no_test_runs_is_told(
    workers: tuple[str, ...], folder: Folder, provider: Upstream
) -> None:
    swallows = "import asking\nasking.ask()\n"
    folder.write(conftest=swallows, test_it=f"{swallows}def test_it(): pass")
    done = folder.run("-m", "pytest", "-p", "no:cacheprovider", *workers)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    told = "aquila: outside of any test, POST https://api.openai.com/v1/chat/completions was refused"
    assert done.stdout.count(told) == 1, done.stdout
    assert provider.requests == []


@pytest.mark.slow
def test_a_refusal_is_told_in_a_run_that_ends_without_a_summary(folder: Folder, provider: Upstream) -> None:
    # Pytest does not call `pytest_unconfigure` then.
    folder.write(conftest="import asking, pytest\nasking.ask()\nraise pytest.UsageError('no')")
    done = folder.run()
    assert done.returncode == 4
    told = "aquila: outside of any test, POST https://api.openai.com/v1/chat/completions was refused"
    assert done.stderr.count(told) == 1, done.stderr
    assert provider.requests == []


@pytest.mark.slow
def test_a_conftest_that_asks_within_a_cassette_is_answered(folder: Folder, provider: Upstream) -> None:
    conftest = "import aquila, asking, httpx2\nwith aquila.use_cassette('at_import'):\n    httpx2.post(asking.URL)\n"
    folder.write(conftest=conftest, test_it="def test_it(): pass")
    for options in (["--aquila-record"], []):
        done = folder.run("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(provider.requests) == 1


@pytest.mark.slow
def test_a_program_that_has_called_pytest_gets_its_functions_back_and_threads_of_tests_stay_guarded(
    folder: Folder, provider: Upstream
) -> None:
    folder.write(
        test_left=LEFT,
        program="""
        import atexit, os, socket, ssl, sys, threading
        import asking, pytest

        def world():
            patched = [socket.getaddrinfo, ssl.SSLContext.wrap_bio, socket.socket.connect, threading.Thread.start]
            shown = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
            # The plugin's finder of its own modules stays. The hooks that patch others' modules go.
            return patched, shown, [each for each in sys.meta_path if type(each).__name__ == "_Finder"]

        atexit.register(asking.note, "registered_before")
        before = world()
        own, released = threading.Event(), threading.Event()
        own_thread = threading.Thread(target=lambda: (own.wait(60), asking.note("own_thread"), released.set()))
        own_thread.start()
        assert pytest.main(["test_left.py", "-q", "-p", "no:cacheprovider"]) == 0
        assert world()[1] == before[1]
        tests = sys.modules["test_left"]
        asking.note("program")
        own.set()
        released.wait(60)
        tests.over.set()
        for thread in threading.enumerate():
            if thread is not threading.main_thread() and not thread.name.startswith("ThreadPool"):
                thread.join(60)
        tests.pool.shutdown()
        while threading.active_count() > 1:  # a loop ends its executor in a thread of its own
            for thread in threading.enumerate():
                if thread is not threading.main_thread():
                    thread.join(60)
        asking.ask()
        assert world() == before
        atexit.register(asking.note, "registered_after")
        asking.note("after_all")
        """,
    )
    done = folder.run("program.py")
    assert done.returncode == 0, done.stdout + done.stderr
    noted = folder.notes
    noted.pop("finalizer", None)  # whoever drops the last reference decides
    free = {name for name, row in noted.items() if row == FREE}
    assert free == {"program", "own_thread", "after_all", "registered_before", "registered_after"}
    guarded = {name: row for name, row in noted.items() if name not in free}
    assert guarded.keys() == {"thread", "daemon", "executor", "loop", "atexit", "weakref"}
    assert all(row.startswith("LiveCallRefused LiveCallRefused LiveCallRefused") for row in guarded.values()), guarded
    assert "aquila: after the tests, " in done.stderr


@pytest.mark.slow
def test_a_program_may_call_pytest_again_and_again(folder: Folder, provider: Upstream) -> None:
    folder.write(
        test_it="import asking\ndef test_it(): asking.note('test')",
        program="""
        import socket, ssl, os
        import asking, pytest

        def world():
            shown = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
            return socket.getaddrinfo, ssl.SSLContext.wrap_bio, shown

        before = world()
        for number in range(3):
            assert pytest.main(["test_it.py", "-q", "-p", "no:cacheprovider"]) == 1  # it asked in vain
            assert world() == before
            asking.note(f"program{number}")
        """,
    )
    done = folder.run("program.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert folder.notes == {"test": REFUSED, **{f"program{number}": FREE for number in range(3)}}


@pytest.mark.slow
def test_without_the_plugin_nothing_is_guarded(folder: Folder, provider: Upstream) -> None:
    folder.write(
        test_it="""
        import socket, sys
        import asking

        def test_it():
            assert not [name for name in sys.modules if name.startswith(("aquila", "pytest_aquila"))]
            assert "AQUILA_RUN" not in asking.os.environ
            asking.note("test")
        """
    )
    done = folder.run("-m", "pytest", "-p", "no:aquila", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert folder.notes == {"test": FREE}


@pytest.mark.slow
def test_runs_within_a_run_leave_nothing(folder: Folder, provider: Upstream) -> None:
    folder.write(
        conftest="pytest_plugins = ['pytester']",
        test_it="""
        import os, socket, ssl, sys
        import pytest

        @pytest.mark.parametrize("inner", ["def test_it(): pass", "import no_such_module", "raise KeyboardInterrupt"])
        def test_it(inner, pytester):
            def world():
                shown = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
                return [socket.getaddrinfo, ssl.SSLContext.wrap_bio, socket.socket.connect], shown, sys.meta_path[:]
            before = world()
            pytester.makepyfile(inner)
            pytester.runpytest_inprocess("-p", "no:cacheprovider")
            assert world() == before
            pytester.runpytest_inprocess("--no-such-option")
            assert world() == before

        def test_a_configuration_that_is_only_parsed(pytester):
            pytester.parseconfig("-p", "no:cacheprovider")
            pytester.parseconfigure("-p", "no:cacheprovider")

        def test_after():
            import asking
            asking.note("after")
        """,
    )
    done = folder.run()
    assert "4 passed" in done.stdout, done.stdout
    assert "1 failed" in done.stdout  # the last, which asked in vain
    assert folder.notes == {"after": REFUSED}
    assert provider.requests == []


@pytest.mark.slow
def test_forks_programs_that_take_over_and_workers_are_guarded(folder: Folder, provider: Upstream) -> None:
    folder.write(
        test_it="""
        import os, sys
        import asking

        def test_fork():
            child = os.fork()
            if not child:
                asking.note("fork")
                os._exit(0)
            os.waitpid(child, 0)

        def test_exec():
            child = os.fork()
            if not child:
                os.execv(sys.executable, [sys.executable, "-c", "import asking; asking.note('exec')"])
            os.waitpid(child, 0)
        """,
        conftest="""
        import asking, atexit, os
        atexit.register(asking.note, os.environ.get("PYTEST_XDIST_WORKER", "main"))
        """,
    )
    done = folder.run("-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "-W", "ignore::DeprecationWarning")
    assert "2 failed" in done.stdout, done.stdout + done.stderr
    noted = folder.notes
    assert noted.keys() == {"fork", "exec", "gw0", "main"}
    assert all(row.startswith("LiveCallRefused LiveCallRefused LiveCallRefused") for row in noted.values()), noted
    assert {noted[name].split()[-1] for name in ("fork", "exec", "gw0")} == {"aquila-no-key"}
    assert provider.requests == []


@pytest.mark.slow
def test_a_test_that_clears_the_environment_leaves_the_children_of_the_next_guarded(
    folder: Folder, provider: Upstream
) -> None:
    folder.write(
        test_it="""
        import os, subprocess, sys
        import asking

        def test_clears():
            for name in [name for name in os.environ if name.startswith("AQUILA_")]:
                del os.environ[name]

        def test_next():
            subprocess.run([sys.executable, "-c", "import asking; asking.note('child')"], check=True)
        """
    )
    done = folder.run()
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert folder.notes == {"child": REFUSED}
    assert provider.requests == []


@pytest.mark.slow
def test_a_run_that_is_interrupted_while_it_ends_stays_guarded(folder: Folder, provider: Upstream) -> None:
    folder.write(
        conftest="""
        import asking, atexit, os, signal
        atexit.register(asking.note, "atexit")

        def pytest_unconfigure():
            os.kill(os.getpid(), signal.SIGINT)
        """,
        test_it="def test_it(): pass",
    )
    done = folder.run()
    assert done.returncode in (1, 2, -signal.SIGINT, 130), done.returncode
    assert folder.notes == {"atexit": REFUSED}
    assert provider.requests == []


@pytest.mark.slow
def test_variables_that_a_conftest_sets_count_as_those_of_the_machine(folder: Folder, provider: Upstream) -> None:
    folder.write(
        conftest="import os\nos.environ['OPENAI_API_KEY'] = 'from-a-dotenv-file-12345'\ndel os.environ['GROQ_API_KEY']",
        test_it="""
        import os, pytest

        def test_replay():
            assert os.environ["OPENAI_API_KEY"] == os.environ["GROQ_API_KEY"] == "aquila-no-key"

        @pytest.mark.aquila_live
        def test_live():
            assert os.environ["OPENAI_API_KEY"] == "from-a-dotenv-file-12345"
            assert "GROQ_API_KEY" not in os.environ
        """,
    )
    done = folder.run()
    assert "2 passed" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_transport_that_a_conftest_sets_is_used(folder: Folder, provider: Upstream) -> None:
    folder.write(
        conftest="import os\nos.environ['AQUILA_TRANSPORT'] = 'live'",
        test_it="import asking\ndef test_it(): asking.note('test')",
    )
    assert folder.run().returncode == 0
    assert folder.notes == {"test": FREE}


def test_a_setting_that_is_wrong_is_said_before_anything_is_imported(
    folder: Folder, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write(conftest="import asking\nasking.note('conftest')")
    monkeypatch.setenv("AQUILA_TIMEOUT", "x")
    done = folder.run()
    assert done.returncode == 4
    assert "AQUILA_TIMEOUT" in done.stderr
    assert folder.notes == {}


CONNECTING = """
    import socket

    def connect():
        \"\"\"Connect to an address at which there is nothing. Returns the name of the error.\"\"\"
        try:
            socket.create_connection(("192.0.2.1", 443), timeout=1).close()
        except Exception as error:
            return type(error).__name__
"""


ALONE = ("-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_aquila.plugin")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, folder: Folder) -> Folder:
    """A project in whose runs no other plugin has loaded a client before."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("AQUILA_RUN", raising=False)  # the run of this test guards its children, too
    return folder


@pytest.mark.parametrize(
    "how",
    ["importlib.reload(socket)", pytest.param("sys.modules.pop('socket'); import socket", marks=pytest.mark.slow)],
)
def test_a_socket_module_that_is_loaded_anew_is_guarded(how: str, alone: Folder) -> None:
    (alone.path / "pytest.ini").write_text("[pytest]\naquila_guard = all\n")
    alone.write(
        conftest=f"import importlib, socket, sys\n{how}\n",
        connecting=CONNECTING,
        test_it="import connecting\ndef test_it(): assert connecting.connect() == 'LiveCallRefused'",
    )
    done = alone.run(*ALONE)
    assert "LiveCallRefused: " in done.stdout, done.stdout


def test_a_first_connection_for_which_the_stack_is_too_deep_leaves_the_guard(alone: Folder) -> None:
    (alone.path / "pytest.ini").write_text("[pytest]\naquila_guard = all\n")
    alone.write(
        connecting=CONNECTING,
        test_it="""
        import sys
        import aquila.intercept.activation  # so that the stack ends while it acts, not while it is imported
        import connecting, pytest

        @pytest.mark.parametrize("frames", range(4, 40))
        @pytest.mark.xfail
        def test_first(frames):
            frame, depth = sys._getframe(), frames
            while frame:
                frame, depth = frame.f_back, depth + 1
            before = sys.getrecursionlimit()
            sys.setrecursionlimit(depth)
            try:
                connecting.socket.socket().connect(("192.0.2.1", 443))
            finally:
                sys.setrecursionlimit(before)

        def test_next():
            with pytest.raises(Exception) as caught, connecting.socket.socket() as client:
                client.connect(("192.0.2.1", 443))  # the same function
            assert caught.typename == "LiveCallRefused"
        """,
    )
    done = alone.run(*ALONE, "--tb=no")  # the deepest stacks take longest to write
    assert "LiveCallRefused: " in done.stdout, done.stdout


def test_a_program_whose_tests_do_nothing_gets_its_functions_back(alone: Folder) -> None:
    alone.write(
        test_it="def test_it(): pass",
        program="""
        import socket, sys, threading
        import pytest

        def functions():
            return socket.getaddrinfo, socket.socket.connect, threading.Thread.start

        before = functions()
        assert pytest.main(["test_it.py", "-q", "-p", "no:cacheprovider", "-p", "pytest_aquila.plugin"]) == 0
        assert functions() == before
        """,
    )
    done = alone.run("program.py")
    assert done.returncode == 0, done.stdout + done.stderr
