"""``aquila_guard = sealed``: real runs that really try to get out, with every program that is here. None does."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from tests.support.sealing import (
    COMMAND,
    SEALED,
    environment,
    needs_sealing,
    run_pytest,
    start_sealed_pytest,
    write_tests,
)
from tests.support.slow import nightly_but

pytestmark = needs_sealing()


class Counter:
    """A server of the machine, outside of every sealed run. ``count`` is how often something reached it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.count = 0
        self.tcp = socket.create_server((address, 0))
        self.port: int = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, self.port))
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._accept, self._receive)]
        for thread in self._threads:
            thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                if connection.recv(100) == b"stop":
                    return
                self.count += 1
                connection.sendall(b"HTTP/1.0 204 reached\r\nconnection: close\r\n\r\n")

    def _receive(self) -> None:
        while True:
            piece, sender = self.udp.recvfrom(1000)
            if piece == b"stop":
                return
            self.count += 1
            self.udp.sendto(b"reached", sender)

    def stop(self) -> int:
        """Stop it after all that has come before, and return the count."""
        with socket.create_connection((self.address, self.port)) as last:
            last.sendall(b"stop")
        self.udp.sendto(b"stop", (self.address, self.port))
        for thread in self._threads:
            thread.join()
        self.tcp.close()
        self.udp.close()
        return self.count


def own_addresses() -> list[str]:
    """The loopback, and the address of this machine on a real interface, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            other = [probe.getsockname()[0]]
        except OSError:
            other = []
    return ["127.0.0.1", *other]


@pytest.fixture
def counters() -> list[Counter]:
    return [Counter(address) for address in own_addresses()]


WAYS = """
import ctypes, os, shutil, socket, subprocess, sys
import pytest

PLAIN = '''
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as there:
    there.sendall(b"GET / HTTP/1.0\\\\r\\\\n\\\\r\\\\n")
    assert b"reached" in there.recv(100)
'''

def succeeds(*command, **how):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, **how)
    return done.returncode == 0

def by_module_in_c(host, port):
    import _socket
    there = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    there.settimeout(5)
    there.connect((host, port))
    there.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
    return b"reached" in there.recv(100)

def by_ctypes(host, port):
    libc = ctypes.CDLL(None, use_errno=True)
    there = libc.socket(2, 1, 0)
    address = (2).to_bytes(2, sys.byteorder) + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
    if libc.connect(there, address, len(address)):
        return False
    libc.send(there, b"GET / HTTP/1.0\\r\\n\\r\\n", 18, 0)
    received = ctypes.create_string_buffer(100)
    libc.recv(there, received, 100, 0)
    return b"reached" in received.raw

def by_isolated_python(host, port):
    return succeeds(sys.executable, "-I", "-S", "-c", PLAIN, host, port)

def by_python_without_site(host, port):
    return succeeds(sys.executable, "-S", "-c", PLAIN, host, port)

def by_python_without_environment(host, port):
    return succeeds(sys.executable, "-c", PLAIN, host, port, env={})

def by_process_in_a_session_of_its_own(host, port):
    return succeeds(sys.executable, "-I", "-c", PLAIN, host, port, start_new_session=True, env={})

def by_datagram(host, port):
    import _socket
    there = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    there.settimeout(5)
    there.connect((host, port))
    there.send(b"anything")
    return there.recv(100) == b"reached"

def by_question_for_a_name(host, port):
    import _socket
    there = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    there.settimeout(5)
    there.connect((host, port))
    there.send(bytes.fromhex("12340100000100000000000003617069076578616d706c6503636f6d0000010001"))
    return bool(there.recv(100))

def by_curl(host, port):
    return succeeds("curl", "--max-time", "5", "--noproxy", "*", "--silent", f"http://{host}:{port}/", env={})

def by_node(host, port):
    code = "fetch(process.argv[1]).then(() => process.exit(0), () => process.exit(1))"
    return succeeds("node", "-e", code, f"http://{host}:{port}/", env={})

def by_bash(host, port):
    return succeeds("bash", "-c", f"exec 3<>/dev/tcp/{host}/{port} && echo >&3 && read -t 5 <&3", env={})

NEEDED = {"by_curl": "curl", "by_node": "node", "by_bash": "bash"}
HERE = [name for name in sorted(globals()) if name.startswith("by_") and shutil.which(NEEDED.get(name, "true"))]

def gets_out(way, host, port):
    try:
        return globals()[way](host, int(port))
    except OSError:
        return False
"""


NO_MODELS = Interaction(
    RecordedRequest("GET", "https://api.example/v1/models", (("accept", "application/json"),)),
    RecordedResponse(200, (("content-type", "application/json"),), (RecordedChunk(b'{"object":"list","data":[]}'),)),
)


def namespace_of(process: str = "self") -> str:
    return os.readlink(f"/proc/{process}/ns/net")


@pytest.mark.slow  # processes in a namespace of their own
@pytest.mark.parametrize(
    ("guard", "workers"),
    [("off", ()), ("sealed", ()), ("sealed", ("-p", "xdist", "-n", "2"))],
    ids=str,
)
def test_nothing_reaches_a_server_outside_whatever_tries(
    folder: Path, counters: list[Counter], guard: str, workers: tuple[str, ...]
) -> None:
    # The same ways without the seal reach the servers: so they are ways.
    write_tests(folder, WAYS, "ways.py")
    servers = [(counter.address, counter.port) for counter in counters]
    write_tests(
        folder,
        f"""
        import pytest, ways

        @pytest.mark.parametrize("host, port", {servers!r})
        @pytest.mark.parametrize("way", ways.HERE)
        def test_way(way, host, port):
            assert ways.gets_out(way, host, port) is {guard == "off"}
        """,
    )
    done = run_pytest(folder, *workers, "-o", "pythonpath=.", env={"AQUILA_GUARD": guard})
    assert done.returncode == 0, done.stdout + done.stderr
    reached = [counter.stop() for counter in counters]
    if guard == "sealed":
        assert reached == [0] * len(counters)
    else:
        assert min(reached) >= 7


@pytest.mark.slow
def test_the_ini_file_and_the_override_of_an_ini_key_seal(folder: Path) -> None:
    write_tests(folder, f"import os\ndef test_it(): assert os.readlink('/proc/self/ns/net') != {namespace_of()!r}")
    assert run_pytest(folder).returncode == 1
    done = run_pytest(folder, "-o", "aquila_guard=sealed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aquila: sealed: this run is in a network namespace that has only its loopback" in done.stdout
    (folder / "pytest.ini").write_text("[pytest]\naquila_guard = sealed\n")
    assert run_pytest(folder, plugins=(), env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}).returncode == 0
    assert run_pytest(folder, env={"AQUILA_GUARD": "all"}).returncode == 1  # the environment comes first
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -o aquila_guard=sealed\n")
    assert run_pytest(folder, "--strict-config").returncode == 0


SEEN = """
import json, os, sys
import pytest

def test_it():
    names = set(os.environ) - {"AQUILA_GUARD", "AQUILA_RUN", "SEEN"}
    seen = {
        "flags": list(sys.flags), "xoptions": sys._xoptions, "warnoptions": sys.warnoptions, "argv": sys.argv,
        "orig_argv": sys.orig_argv[1:], "executable": sys.executable, "prefix": sys.prefix, "path": sys.path,
        "folder": os.getcwd(), "environment": {name: os.environ[name] for name in names},
        "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()],
        "group": [os.getpgid(0) == os.getpgid(os.getppid()), os.getsid(0) == os.getsid(os.getppid())],
        "mask": os.umask(0o22), "traced": sys.gettrace() is not None,
    }
    seen["input"] = os.read(0, 100).decode()
    with open(os.environ["SEEN"], "w") as file:
        json.dump(seen, file)
"""

CONSOLE_MAIN = """
import sys; from _pytest import config
sys.exit(getattr(config, "_console_main", config.console_main)())
"""


@pytest.mark.parametrize(
    "command",
    nightly_but(
        [(sys.executable, "-m", "pytest"), (sys.executable, "-s", COMMAND, "-k", "test_it or not  é")],
        [
            (COMMAND, "-q"),
            (sys.executable, "-m", "pytest"),
            (sys.executable, "-X", "utf8", "-X", "dev", "-W", "ignore::ImportWarning", "-O", "-B", "-m", "pytest"),
            (sys.executable, "-s", COMMAND, "-k", "test_it or not  é"),
            (sys.executable, "-c", CONSOLE_MAIN),
            (sys.executable, "-m", "pdb", "-c", "continue", "-m", "pytest"),
            (sys.executable, "-m", "cProfile", "-o", "/dev/null", "-m", "pytest"),
            ("/usr/bin/env", "PYTHONHASHSEED=3", "python", "-m", "pytest"),
        ],
    ),
    ids=["command", "module", "flags", "script", "text", "pdb", "profile", "name on the path"],
)
def test_a_sealed_run_is_started_as_it_was_typed(folder: Path, command: tuple[str, ...]) -> None:
    if "pdb" in command and sys.version_info[:3] == (3, 13, 0):
        pytest.skip("the pdb of Python 3.13.0 takes no options of what it runs")
    write_tests(folder, SEEN)
    seen = []
    for guard in ("all", "sealed"):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = run_pytest(
            folder,
            "-s",
            "test_it.py",
            command=command,
            env={"AQUILA_GUARD": guard, "SEEN": str(folder / guard), "PATH": path},
            input="what was typed\n",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen.append(json.loads((folder / guard).read_text()))
    assert seen[0] == seen[1]
    assert seen[1]["input"] == "what was typed\n"


@pytest.mark.parametrize(
    ("body", "arguments", "code"),
    nightly_but(
        [
            ("import os; os._exit(77)", (), 77),
            ("import os; os.kill(os.getpid(), 9)", (), -9),
            ("pass", ("-k", "nothing"), 5),
        ],
        [
            ("pass", (), 0),
            ("assert False", (), 1),
            ("import os; os._exit(77)", (), 77),
            ("import os; os.kill(os.getpid(), 9)", (), -9),
            ("import pytest; pytest.exit('enough', 42)", (), 42),
            ("pass", ("-k", "nothing"), 5),
            ("pass", ("--no-such-option",), 4),
            ("pass", ("--version", "--version"), 0),
        ],
        of_several_names=True,
    ),
)
def test_the_exit_code_is_that_of_the_run(folder: Path, body: str, arguments: tuple[str, ...], code: int) -> None:
    write_tests(folder, f"def test_it(): {body}")
    assert run_pytest(folder, *arguments, env=SEALED).returncode == code


@pytest.mark.slow
def test_ctrl_c_ends_a_sealed_run_as_any_other(folder: Path) -> None:
    write_tests(
        folder,
        """
        import os, time
        import pytest

        @pytest.fixture
        def something():
            yield
            print("TORN DOWN")

        def test_it(something, capfd):
            with capfd.disabled():
                print(f"RUNNING {os.getpid()}", flush=True)
            time.sleep(60)
        """,
    )
    with start_sealed_pytest(folder) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.rpartition("RUNNING ")[2].strip() == str(running.pid):  # it is the process that was started
                os.killpg(running.pid, signal.SIGINT)
                break
        rest = running.stdout.read()
        assert running.wait(60) == 2
    assert "TORN DOWN" in rest
    assert "KeyboardInterrupt" in rest


@pytest.mark.slow
def test_a_sealed_run_has_the_terminal(folder: Path) -> None:
    write_tests(
        folder,
        """
        import os
        def test_it():
            assert all(os.isatty(stream) for stream in range(3))
            assert os.tcgetpgrp(0) == os.getpgid(0)
        """,
    )
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(COMMAND, [COMMAND, "-p", "aquila", "-s"], environment(**SEALED))
    shown = b""
    try:
        while piece := os.read(terminal, 1000):
            shown += piece
    except OSError:  # the end, as a terminal tells it
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown.decode()


PROGRAMS = {
    "a file": ("program.py",),
    "text": ("-c", "import pytest, sys; sys.exit(pytest.main(['-p', 'aquila', 'test_it.py']))"),
    "a pipe": ("-",),
}


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.slow
def test_a_program_that_calls_pytest_is_not_executed_again(folder: Path, kind: str) -> None:
    write_tests(folder, "def test_it(): open('ran', 'w')")
    write_tests(
        folder,
        "print('BEGINS', flush=True)\nimport pytest, sys\nsys.exit(pytest.main(['-p', 'aquila', 'test_it.py']))",
        "program.py",
    )
    done = subprocess.run(
        [sys.executable, *PROGRAMS[kind]],
        cwd=folder,
        env=environment(**SEALED),
        input=f"import sys; sys.argv = ['pytest', '-p', 'aquila']\n{CONSOLE_MAIN}",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "ERROR: aquila_guard = sealed: a program has called pytest.main()" in done.stderr
    assert "AQUILA_GUARD=all" in done.stderr
    assert done.stdout.count("BEGINS") == (kind == "a file")
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_a_run_within_a_sealed_run_stays_in_it(folder: Path) -> None:
    # Nothing but the interfaces tells the inner run so: its environment is empty.
    write_tests(
        folder,
        f"""
        import os, socket, subprocess, sys
        import pytest
        pytest_plugins = ["pytester"]

        INNER = '''
        import os, socket
        def test_it():
            assert os.readlink("/proc/self/ns/net") == {{!r}}
            socket.create_connection(("127.0.0.1", {{}})).close()
        '''

        @pytest.mark.parametrize("how", ["in_process", "as_process", "without_environment"])
        def test_it(how, pytester, monkeypatch):
            assert os.readlink("/proc/self/ns/net") != {namespace_of()!r}
            with socket.create_server(("127.0.0.1", 0)) as server:
                pytester.makepyfile(test_inner=INNER.format(os.readlink("/proc/self/ns/net"), server.getsockname()[1]))
                pytester.makeini("[pytest]\\naquila_guard = sealed\\n")
                if how == "in_process":
                    result = pytester.runpytest_inprocess("-p", "aquila")
                    assert result.ret == 0
                elif how == "as_process":
                    assert pytester.runpytest_subprocess("-p", "aquila").ret == 0
                else:
                    subprocess.run([sys.executable, "-m", "pytest"], cwd=pytester.path, env={{}}, check=True)
        """,
    )
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_within_an_unsealed_run_is_not_taken_for_its_command(folder: Path) -> None:
    write_tests(
        folder,
        """
        pytest_plugins = ["pytester"]
        def test_it(pytester):
            pytester.makepyfile(test_inner="def test_inner(): raise AssertionError('ran')")
            pytester.makeini("[pytest]\\naquila_guard = sealed\\n")
            result = pytester.runpytest_inprocess("-p", "aquila")
            assert result.ret == 4
            result.stderr.fnmatch_lines(["*a program has called pytest.main()*"])
        """,
    )
    done = run_pytest(folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_no_variable_of_a_sealed_run_makes_another_one_believe_that_it_is_sealed(folder: Path) -> None:
    write_tests(
        folder,
        """
        import json, os
        def test_it():
            with open("left", "w") as file:
                json.dump([dict(os.environ), os.readlink("/proc/self/ns/net")], file)
        """,
    )
    assert run_pytest(folder, env=SEALED).returncode == 0
    variables, _ = json.loads((folder / "left").read_text())
    (folder / "left").unlink()
    done = subprocess.run(
        [COMMAND, "-p", "aquila"], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "left").read_text())[1] != namespace_of()


EARLY = """
import os, threading
with open("imported", "a") as file:
    file.write(os.readlink("/proc/self/ns/net") + "\\n")
threading.Thread(target=threading.Event().wait, daemon=True).start()
os.environ["EARLY"] = os.environ.get("EARLY", "") + "x"
"""


@pytest.mark.slow
@pytest.mark.parametrize(("order", "outside"), [(("-p", "aquila", "-p", "early"), 0), (("-p", "early"), 1)])
def test_what_comes_before_the_seal_is_imported_again_within_it(
    folder: Path, order: tuple[str, ...], outside: int
) -> None:
    # With `-p aquila` first, no other plugin is imported outside. No thread of an early one stays there.
    write_tests(folder, EARLY, "early.py")
    write_tests(
        folder,
        """
        import os
        def test_it():
            threads = os.listdir("/proc/self/task")
            assert len(threads) > 1
            assert len({os.readlink(f"/proc/self/task/{each}/ns/net") for each in threads}) == 1
        """,
    )
    variables = SEALED | {"PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    done = run_pytest(folder, *order, plugins=(), env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    imported = (folder / "imported").read_text().split()
    assert imported[:-1] == [namespace_of()] * outside
    assert imported[-1] != namespace_of()


@pytest.mark.slow
def test_a_conftest_that_loads_the_plugin_is_too_late(folder: Path) -> None:
    write_tests(folder, "pytest_plugins = ['pytest_aquila.plugin']", "conftest.py")
    write_tests(folder, "def test_it(): open('ran', 'w')")
    done = run_pytest(folder, plugins=(), env=SEALED)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "must be in force before any conftest.py is imported" in done.stderr
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_a_plugin_that_is_loaded_before_the_ini_file_is_read_does_not_run_unsealed(folder: Path) -> None:
    write_tests(folder, "def test_it(): open('ran', 'w')")
    code = "import pytest, pytest_aquila.plugin as plugin; raise SystemExit(pytest.main(plugins=[plugin]))"
    done = run_pytest(folder, plugins=(), command=(sys.executable, "-c", code), env=SEALED)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "came too late for this run to be sealed" in done.stderr
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_a_socket_that_was_inherited_from_outside_is_closed(folder: Path, counters: list[Counter]) -> None:
    write_tests(
        folder,
        """
        import os, socket
        import pytest

        def test_it():
            leading_out, local = map(int, os.environ["INHERITED"].split())
            with pytest.raises(OSError):
                os.fstat(leading_out)
            os.fstat(local)
        """,
    )
    mine, other = socket.socketpair()
    with socket.socket() as leading_out, mine, other:
        inherited = (leading_out.fileno(), mine.fileno())
        variables = SEALED | {"INHERITED": " ".join(map(str, inherited))}
        done = run_pytest(folder, env=variables, pass_fds=inherited)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [counter.stop() for counter in counters] == [0] * len(counters)


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    nightly_but(
        [((), {"AQUILA_RECORD": "all"}, "record"), (("--aquila-transport=live",), {}, "live")],
        [
            (("--aquila-transport=live",), {}, "live"),
            (("--aquila-record",), {}, "record"),
            (("--aquila-record", "--aquila-upstream=local"), {}, "record"),
            ((), {"AQUILA_RECORD": "all"}, "record"),
            ((), {"AQUILA_TRANSPORT": "live"}, "live"),
        ],
        of_several_names=True,
    ),
)
def test_what_needs_the_network_is_a_usage_error(
    folder: Path, arguments: tuple[str, ...], variables: dict[str, str], named: str
) -> None:
    write_tests(folder, "def test_it(): open('ran', 'w')")
    done = run_pytest(folder, *arguments, env=SEALED | variables)
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"lets nothing out, and the transport {named} needs the network" in done.stderr
    assert "AQUILA_GUARD=all" in done.stderr
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_a_test_that_is_meant_to_reach_the_provider_fails_with_what_to_type(folder: Path) -> None:
    write_tests(
        folder,
        """
        import aquila, pytest

        @pytest.mark.aquila_live
        def test_marked(): pass

        @pytest.mark.aquila(transport="record")
        def test_records(): pass

        def test_block():
            with aquila.use_cassette("it", transport="live"): pass
        """,
    )
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 1
    assert done.stdout.count("needs the network, and this run is sealed") >= 3, done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert "2 errors" in done.stdout
    assert "1 failed" in done.stdout


@pytest.mark.slow
def test_one_test_alone_cannot_be_sealed(folder: Path) -> None:
    write_tests(folder, "import pytest\n@pytest.mark.aquila(guard='sealed')\ndef test_it(): pass")
    done = run_pytest(folder)
    assert done.returncode == 1
    assert "guard='sealed' is for a whole run" in done.stdout


@pytest.mark.slow
def test_replays_and_servers_of_the_run_itself_work(folder: Path) -> None:
    write_tests(
        folder,
        """
        import socket, subprocess, sys, threading, urllib.request
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        import httpx2, pytest, aquila

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(204)
                self.end_headers()

        @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
        def test_server(address):
            kind = type("Server", (ThreadingHTTPServer,), {"address_family": socket.AF_INET6 if ":" in address else 2})
            with kind((address, 0), Handler) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                shown = f"[{address}]" if ":" in address else address
                url = f"http://{shown}:{server.server_address[1]}/"
                assert urllib.request.urlopen(url).status == 204
                code = f"import urllib.request; urllib.request.urlopen({url!r})"
                subprocess.run([sys.executable, "-I", "-c", code], check=True, env={})
                server.shutdown()

        def test_replay(aquila_cassette):
            with aquila.http_client() as client:
                assert client.get("https://api.example/v1/models").json()["data"] == []

        def test_refusal(aquila_refusals):
            with pytest.raises(BaseException) as caught, httpx2.Client() as client:
                client.get("https://api.example/v1/other")
            assert "This run is sealed" in str(caught.value)
            aquila_refusals.forget()

        def test_serve(aquila_server):
            assert httpx2.get(f"{aquila_server.base_url}/models").json()["data"] == []
        """,
    )
    for name in ("test_replay", "test_serve"):
        save_cassette(folder / "cassettes" / "test_it" / f"{name}.yaml", Cassette.from_interactions([NO_MODELS]))
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_system_says_that_it_has_no_namespaces(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("def test_it(): open('ran', 'w')")
    pytester.makeini("[pytest]\naquila_guard = sealed\n")
    monkeypatch.setattr("pytest_aquila.sealed_run.sys", type("Sys", (), {"platform": "darwin"}))
    result = pytester.runpytest_inprocess()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*aquila_guard = sealed needs Linux, and this is darwin*AQUILA_GUARD=all*"])
    assert not (pytester.path / "ran").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server here")
def test_a_redis_that_a_test_starts_is_reached(folder: Path) -> None:
    write_tests(
        folder,
        """
        import socket, subprocess, redis

        def test_it(tmp_path):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
                for line in server.stdout:
                    if "Ready to accept" in line:
                        break
                assert redis.Redis(port=port).set("it", "works")
                server.terminate()
        """,
    )
    done = run_pytest(folder, env=SEALED)
    assert done.returncode == 0, done.stdout + done.stderr
