"""Child processes belong to the scope that was open when they were started: they replay from it and record into it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.intercept.processes import child_processes, parent_run
from aquila.recording import runtime
from aquila.recording.network.refusals import Refusals
from tests.support.clients import ASKING
from tests.support.real_hosts import real_hosts
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream

ASK = f"""{ASKING}
if __name__ == "__main__":
    import sys
    print(ask(*sys.argv[1:]))
"""

TESTS = """
    import multiprocessing, subprocess, sys
    import pytest
    import asking

    URL = "{url}"

    def child(method, prompt):
        if method == "subprocess":
            command = [sys.executable, "asking.py", URL, prompt]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            return pool.apply(asking.ask, (URL, prompt))

    @pytest.mark.parametrize("method", ["subprocess", "spawn", "fork"])
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_it(method, aquila_cassette):
        assert asking.ask(URL, "parent") == "parent"
        assert child(method, "child") == "child"

    @pytest.mark.aquila("named")
    def test_named():
        assert child("subprocess", "named") == "named"
"""


@pytest.mark.slow
def test_children_of_a_test_record_into_its_cassette_and_replay_from_it(
    pytester: pytest.Pytester, echoing: Upstream
) -> None:
    pytester.makepyfile(asking=ASK, test_it=textwrap.dedent(TESTS).format(url=echoing.url))
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist")
    recorded = pytester.runpytest_subprocess("--aquila-record", *plain)
    recorded.assert_outcomes(passed=4)
    assert sorted(json.loads(body)["prompt"] for _, body in echoing.requests) == 3 * ["child"] + ["named"] + 3 * [
        "parent"
    ]
    for method in ("subprocess", "spawn", "fork"):
        stored = load_cassette(pytester.path / "cassettes" / "test_it" / f"test_it-{method}.yaml")
        prompts = sorted(json.loads(interaction.request.body)["prompt"] for interaction in stored.interactions)
        assert prompts == ["child", "parent"]
    echoing.script = lambda path, body: pytest.fail("reached in a replay")
    files = {path: path.read_bytes() for path in (pytester.path / "cassettes").rglob("*.yaml")}
    pytester.runpytest_subprocess(*plain).assert_outcomes(passed=4)
    # Recording again what matches keeps everything: what a child plays counts as used.
    pytester.runpytest_subprocess("--aquila-record", *plain).assert_outcomes(passed=4)
    assert {path: path.read_bytes() for path in (pytester.path / "cassettes").rglob("*.yaml")} == files
    assert len(echoing.requests) == 7


@pytest.mark.slow
def test_a_miss_in_a_child_fails_there_and_nothing_goes_out(pytester: pytest.Pytester, echoing: Upstream) -> None:
    pytester.makepyfile(asking=ASK, test_it=textwrap.dedent(TESTS).format(url=echoing.url))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", "test_named", "-s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CalledProcessError*"])
    assert echoing.requests == []


@pytest.mark.slow
def test_outside_pytest_a_block_covers_children_that_use_aquila(tmp_path: Path, root: Path, echoing: Upstream) -> None:
    program = tmp_path / "asking.py"
    program.write_text("import aquila\n" + ASK)

    def ask() -> str:
        done = subprocess.run([sys.executable, program, echoing.url, "hi"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with aquila.use_cassette("x", transport="record"):
        assert ask() == "hi"
    assert len(load_cassette(root / "x.yaml").interactions) == 1
    with aquila.use_cassette("x"):
        assert ask() == "hi"
    assert len(echoing.requests) == 1


def test_cassettes_beside_each_other_are_not_guessed_between(root: Path) -> None:
    def described() -> str | None:
        inherited = json.loads(os.environ[child_processes.VARIABLE])
        return inherited["scope"]["default_cassette"] if "scope" in inherited else None

    before = os.environ.get(child_processes.VARIABLE)
    outer = aquila.use_cassette("outer")
    with outer:
        assert described() == "outer"
        with aquila.use_cassette("inner"):
            assert described() == "inner"
        assert described() == "outer"
        from aquila.recording import scope as scopes

        beside = scopes.Scope(kind="test", default_cassette="beside")
        scopes.open_scope(beside)
        assert described() is None
        beside.run.scopes.remove(beside)
        beside.close()
        assert described() == "outer"
    assert os.environ.get(child_processes.VARIABLE) == before


@pytest.fixture
def provider() -> Iterator[Upstream]:
    """The provider under its real name, for this process and its children."""
    with real_hosts("api.openai.com", "other.example", script=lambda path, body: Answer()) as running:
        yield running


CONNECT = """
import socket, sys
for host in sys.argv[1:]:
    try:
        socket.create_connection((host, 443)).close()
        print("connected")
    except Exception as error:
        print(type(error).__name__, error)
    print("--")
"""


def connect(*hosts: str, options: Sequence[str] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """Connect to hosts in a child that knows nothing of Aquila."""
    return subprocess.run(
        [sys.executable, *options, "-c", CONNECT, *hosts],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


LAYERS = {
    "root": "/",
    "defaults": {},
    "ini": {},
    "command_line": {},
    "under_pytest": True,
    "finds_drift": False,
    "settings_file": "",
    "started_in": "",
}


DAMAGED = ["{", "null", '{"around": null}', json.dumps({"around": LAYERS | {"ini": 5}, "key": ""}), "cut off"]


@pytest.mark.parametrize("damaged", slow_but(["null", "cut off"], DAMAGED))
def test_a_child_with_a_damaged_variable_reaches_nothing_but_this_machine(damaged: str, provider: Upstream) -> None:
    value = os.environ[child_processes.VARIABLE][:-1] if damaged == "cut off" else damaged
    hosts = ("api.openai.com", "other.example", "localhost")
    done = connect(*hosts, **{child_processes.VARIABLE: value}, AQUILA_GUARD="off", AQUILA_TRANSPORT="live")
    of_provider, of_other, of_this_machine = done.stdout.split("\n--\n")[:3]
    for came in (of_provider, of_other):
        assert came.startswith("LiveCallRefused"), done
        assert "AQUILA_RUN, set by the parent process, is damaged" in came
    assert of_this_machine.startswith(("ConnectionRefusedError", "connected")), (
        done
    )  # by whether something listens there


@pytest.mark.parametrize(
    "value",
    [
        *("[]", "0", '"', "{}", '{"around": {"root": 1}}', "\x7f", json.dumps({"around": LAYERS})),
        *(json.dumps({"around": LAYERS | {name: 1}, "key": ""}) for name in LAYERS),
        *(
            json.dumps({"around": LAYERS, "key": "", name: 1})
            for name in ("fingerprints", "scope", "command", "messages")
        ),
        *(json.dumps({"around": LAYERS, "key": "", "messages": told}) for told in ([], ["/tmp"], ["/tmp", 1])),
        json.dumps({"around": LAYERS, "key": 1}),
    ],
)
def test_a_damaged_variable_is_recognised(value: str) -> None:
    assert parent_run.read_parent_variable(json.dumps({"around": LAYERS, "key": ""}), is_under_test=False) is not None
    assert parent_run.read_parent_variable(value, is_under_test=False) is None


@pytest.mark.parametrize("setting", ["AQUILA_TIMEOUT=x", "AQUILA_GUARD=of"])
def test_a_child_with_a_setting_that_is_wrong_reaches_no_provider(setting: str, provider: Upstream) -> None:
    name, _, value = setting.partition("=")
    done = connect("api.openai.com", **{name: value})
    assert done.stdout.startswith("ConfigError"), done
    assert name in done.stdout
    assert done.returncode == 0  # its own work goes on


def test_an_empty_variable_is_none(provider: Upstream) -> None:
    done = connect("other.example", **{child_processes.VARIABLE: ""})
    assert done.stdout == "connected\n--\n", done


OPTIONS = {
    "nothing": ([], {}),
    "a path of its own": ([], {"PYTHONPATH": "."}),
    "no path": ([], {"PYTHONPATH": ""}),
    "ignores the environment": (["-E"], {}),
    "no folder of the user": (["-s"], {}),
}


@pytest.mark.parametrize("how", slow_but(["nothing", "ignores the environment"], OPTIONS))
def test_a_child_is_guarded_whatever_its_path_and_options_say(
    how: str, provider: Upstream, aquila_refusals: Refusals
) -> None:
    options, variables = OPTIONS[how]
    done = connect("api.openai.com", options=options, **variables)
    assert done.stdout.startswith("LiveCallRefused"), done
    assert "api.openai.com" in str(aquila_refusals[0])
    aquila_refusals.forget()


def test_a_sitecustomize_on_the_path_of_the_child_runs_as_well(
    tmp_path: Path, provider: Upstream, aquila_refusals: Refusals
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')\n")
    done = connect("api.openai.com", PYTHONPATH=str(tmp_path))
    assert done.stdout.splitlines()[0] == "mine"
    assert done.stdout.splitlines()[1].startswith("LiveCallRefused"), done
    aquila_refusals.forget()


def test_a_child_that_cannot_join_does_not_go_on(tmp_path: Path, provider: Upstream) -> None:
    # As if a file of Aquila's own could not be read: where it is installed, and where it is only on the path.
    (tmp_path / "usercustomize.py").write_text("")
    code = "import sys; sys.modules['aquila.recording.under_test'] = None; import aquila; print('went on')"
    done = subprocess.run([sys.executable, "-S", "-c", f"import site, sys; sys.path += {sys.path!r}; {code}"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode != 0
    assert "went on" not in done.stdout


def test_another_sitecustomize_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine', __name__)\n")
    path = os.pathsep.join([child_processes.SITE_FOLDER, str(tmp_path)])
    for value in ({}, {child_processes.VARIABLE: os.environ.get(child_processes.VARIABLE, "")}):
        surroundings = {**os.environ, "PYTHONPATH": path, **value}
        command = [sys.executable, "-c", f"import sys; print({child_processes.SITE_FOLDER!r} in sys.path)"]
        done = subprocess.run(command, check=True, env=surroundings, capture_output=True, text=True)
        assert done.stdout.splitlines() == ["mine sitecustomize", "False"]


def test_where_there_is_no_other_sitecustomize_a_child_begins_in_silence() -> None:
    # Many systems have one beside the standard library. So only Aquila's is on the path, once all else is loaded.
    begin = f"import importlib.util, os, site, sys; sys.path[:] = [{child_processes.SITE_FOLDER!r}]"
    code = f"{begin}; site.execsitecustomize(); print('sitecustomize' in sys.modules, sys.path)"
    environment = {name: value for name, value in os.environ.items() if name != child_processes.VARIABLE}
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False []\n", "")


SITE = Path(child_processes.SITE_FOLDER)


def start_with(
    package: str | None, tmp_path: Path, *, session: str, customized: bool = False
) -> subprocess.CompletedProcess[str]:
    """Start a Python whose ``site-packages`` holds the guard's file, and this for Aquila."""
    if package is not None:
        (tmp_path / "aquila.py").write_text(package)
    begin = f"import site; site.addsitedir({str(tmp_path)!r})"
    if customized:
        begin = f"import sys, site; sys.path[:0] = [{str(SITE)!r}, {str(tmp_path)!r}]; site.execsitecustomize()"
    else:
        shutil.copy(SITE / "aquila_guard.pth", tmp_path)
    environment = {**os.environ, "AQUILA_RUN": session}
    command = [sys.executable, "-I", "-S", "-c", f"{begin}; print('began')"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("session", ["", "{}"])
def test_where_aquila_was_half_removed_children_begin_in_silence(session: str, tmp_path: Path) -> None:
    done = start_with(None, tmp_path, session=session)
    assert (done.returncode, done.stdout, done.stderr) == (0, "began\n", "")


@pytest.mark.parametrize("customized", [False, True])
@pytest.mark.parametrize(
    "package", ["raise AttributeError('KEY')", "import no_such_module", "from aquila import x", "]"]
)
def test_a_child_in_which_the_guard_cannot_be_loaded_ends(package: str, customized: bool, tmp_path: Path) -> None:
    done = start_with(package, tmp_path, session="{}", customized=customized)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "aquila: the guard of the test run could not be put in force here" in done.stderr


def test_while_one_thread_joins_the_scope_of_the_parent_the_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = SimpleNamespace(close=lambda: None)
    entered: list[bool] = []

    def join(reference: object, *, command: str) -> object:
        other = threading.Thread(target=lambda: entered.append(runtime.current_run().lock.acquire(blocking=False)))
        other.start()
        other.join()
        return joined

    monkeypatch.setattr("aquila.recording.scope_joining.join_scope", join)
    reference = {"scope": "0123456789abcdef", "name": "test", "default_cassette": "birds"}
    parent = parent_run._Parent(runtime.current_run().layers, "key", command="pytest")
    open_scope = parent_run._ParentScope(parent, reference)
    assert open_scope() is open_scope() is joined
    assert entered == [False]


@pytest.mark.parametrize("name", ["system", "posix_spawn", "posix_spawnp"])
def test_a_function_of_os_that_starts_a_process_can_be_sent_to_another_one(name: str) -> None:
    if (start := getattr(os, name, None)) is not None:  # as by `pool.map(os.system, commands)`
        assert pickle.loads(pickle.dumps(start)) is start


@pytest.mark.parametrize("start", ["subprocess.run(['no-such-program'])", "os.posix_spawn('/no-such', ['x'], {})"])
def test_where_a_program_cannot_be_started_the_traceback_is_that_without_aquila(
    start: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(f"import os, subprocess\n\ndef test_it(): {start}\n")
    output = pytester.runpytest_inprocess("-p", "no:randomly", "--tb=short").stdout.str()
    assert "FileNotFoundError" in output
    assert "started_children" not in output
    assert "lazy_imports" not in output
