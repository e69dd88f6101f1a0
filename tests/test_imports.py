"""What importing may load, seen in fresh processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.intercept.provider_keys import dummies_for_run
from tests.test_layers import imports, modules

HEAVY = {"openai", "httpx2", "httpx", "httpcore2", "yaml", "msgpack", "huey", "vcr", "pydantic", "anyio", "xllamacpp"}


def environment(**variables: str) -> dict[str, str]:
    hidden = {"AQUILA_RUN", "PYTHONPATH", *dummies_for_run(())}  # with keys there is more to keep secret
    return {name: value for name, value in os.environ.items() if name not in hidden} | variables


def run(code: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment(**variables),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str, *, after: str = "pass") -> set[str]:
    """The modules that ``statement`` loads, beyond those that ``after`` has loaded."""
    return set(
        json.loads(
            run(
                f"""
                import json, sys
                {after}
                before = set(sys.modules)
                {statement}
                print(json.dumps(sorted(set(sys.modules) - before)))
                """
            )
        )
    )


def heavy(loaded: set[str]) -> set[str]:
    return {name for name in loaded if name.partition(".")[0] in HEAVY}


def ours(loaded: set[str]) -> set[str]:
    return {name for name in loaded if name.partition(".")[0] in ("aquila", "pytest_aquila")}


def test_importing_aquila_is_light() -> None:
    loaded = loaded_by("import aquila")
    assert heavy(loaded) == set()
    assert ours(loaded) == {"aquila"}


LOADED_BY_AN_EMPTY_RUN = {
    "aquila",
    "aquila.config",
    "aquila.fork_locks",
    "aquila.intercept",
    "aquila.intercept.activation",
    "aquila.intercept.processes",
    "aquila.intercept.processes.child_processes",
    "aquila.intercept.dummy_keys",
    "aquila.intercept.patching",
    "aquila.intercept.provider_keys",
    "aquila.lazy_imports",
    "aquila.recording",
    "aquila.recording.runtime",
    "aquila.recording.environment",
    "pytest_aquila",
    "pytest_aquila.fixture_names",
    "pytest_aquila.options",
    "pytest_aquila.plugin",
    "pytest_aquila.run_life",
    "pytest_aquila.test_scopes",
}
"""Each of these costs every test run of everybody about a quarter of a millisecond: think before you add one."""

if sys.version_info >= (3, 14):  # `pdb`, which pytest loads in every run, loads `socket`, `ssl` and `asyncio`
    LOADED_BY_AN_EMPTY_RUN |= {"aquila.intercept.calling_loader"}

FOR_A_CALLING_PROGRAM = {"pytest_aquila.calling_program"}
"""What is loaded besides where a program has called pytest, as in these tests."""


def test_loading_the_plugin_is_light() -> None:
    loaded = loaded_by("import pytest_aquila.plugin", after="import pytest, _pytest.config")
    assert heavy(loaded) == set()
    assert ours(loaded) <= LOADED_BY_AN_EMPTY_RUN, "name it in a table of lazy_modules"


def run_empty_test(tmp_path: Path, **variables: str) -> dict[str, str]:
    """The modules that a run of one empty test has loaded in the end, each with the class of its loader."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    return dict(
        json.loads(
            run(
                """
                import contextlib, io, json, os, sys
                import pytest
                os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # other plugins load what they like
                with contextlib.redirect_stdout(io.StringIO()):
                    assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "pytest_aquila.plugin", sys.argv[1]]) == 0
                specs = {name: getattr(module, "__spec__", None) for name, module in sys.modules.items()}
                print(json.dumps({name: type(spec and spec.loader).__name__ for name, spec in specs.items()}))
                """,
                str(tmp_path),
                **variables,
            )
        )
    )


@pytest.fixture
def empty_run(tmp_path: Path) -> dict[str, str]:
    """What ``run_empty_test`` returns on a machine without keys."""
    return run_empty_test(tmp_path)


def test_a_test_run_that_does_not_use_the_plugin_stays_light(empty_run: dict[str, str]) -> None:
    loaded = set(empty_run)
    assert heavy(loaded) == set()
    assert ours(loaded) == LOADED_BY_AN_EMPTY_RUN | FOR_A_CALLING_PROGRAM


def test_a_key_on_the_machine_loads_only_the_fingerprints(tmp_path: Path) -> None:
    loaded = set(run_empty_test(tmp_path, OPENAI_API_KEY="sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"))
    assert heavy(loaded) == set()
    fingerprints = {f"aquila.cassettes.redaction.{name}" for name in ("fingerprints", "trivial_values")}
    packages = {"aquila.cassettes", "aquila.cassettes.redaction"}
    assert ours(loaded) == LOADED_BY_AN_EMPTY_RUN | FOR_A_CALLING_PROGRAM | fingerprints | packages


@pytest.mark.slow
def test_the_loader_that_rewrites_assertions_is_not_used_for_aquila(empty_run: dict[str, str]) -> None:
    # It takes twice the time of the ordinary one. The package itself is loaded before it can exempt itself.
    ordinary = {name for name, loader in empty_run.items() if loader == "SourceFileLoader"}
    assert ours(set(empty_run)) - ordinary <= {"pytest_aquila"}


def entrances() -> list[str]:
    """Modules that load all others: to import each of them alone is to import every module there is.

    Those that they load are imported by one that cannot have left them anything: `tests/test_layers.py` sees to it that
    imports run in no circle.
    """
    needs = {name: {name.rpartition(".")[0]} for name in modules()}
    loaded = set[str]()
    for found in imports():
        if found.on_load:
            needs[found.importer].add(found.imported)
            loaded.add(found.imported)
    packages = set().union(*needs.values()) - loaded
    chosen, reached = list[str](), set[str]()
    for name in sorted(modules(), key=lambda name: (name in loaded, name in packages, name)):
        left = [name]
        chosen += left if name not in reached else []
        while left:
            if (each := left.pop()) in needs and each not in reached:
                reached.add(each)
                left += needs[each]
    return chosen


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.long(25)
@pytest.mark.parametrize(
    "chosen",
    [entrances, pytest.param(modules, marks=pytest.mark.nightly)],
    ids=["those that no other loads", "all"],
)
def test_every_module_imports_alone_without_a_warning(chosen: Callable[[], Iterable[str]]) -> None:
    # A fork for each module: a fresh state without the price of a new interpreter. What is not ours is loaded before.
    # No fork looks at it for garbage, which would copy it.
    failures = run(
        """
        import gc, importlib, os, sys, traceback
        import huey.api, hypothesis, msgpack, openai, openai.types.responses, pytest, starlette.applications, uvicorn
        import vcr, websockets, yaml

        gc.disable()
        for name in sys.argv[1:]:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    importlib.import_module(name)
                    status = 0
                except BaseException:
                    print(f"{name}: {traceback.format_exc()}", flush=True)
                finally:
                    os._exit(status)
            if os.waitpid(child, 0)[1]:
                print(f"{name} does not import alone", flush=True)
        """,
        *chosen(),
    )
    assert failures == ""


def test_no_module_of_aquila_keeps_pytest_alive_until_the_interpreter_ends(tmp_path: Path) -> None:
    # What something in `os`, `threading`, `logging` or `sys.meta_path` can reach when Python ends, it takes apart name
    # by name. For pytest and all that it loads that takes as long as loading half of Aquila's modules.
    # On some versions of Python, as since 3.14, it is taken apart so in any run, and so are plugins, which it reaches.
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    outlived = dict[str, set[str]]()
    for plugin in ("no:aquila", "pytest_aquila.plugin"):
        ended = subprocess.run(
            [sys.executable, "-v", "-m", "pytest", "-p", "no:cacheprovider", "-p", plugin, str(tmp_path)],
            check=True,
            capture_output=True,
            text=True,
            timeout=1200,
            env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        )
        outlived[plugin] = set(re.findall(r"^# cleanup\[3\] wiping (\S+)$", ended.stderr, re.MULTILINE))
    assert "threading" in outlived["pytest_aquila.plugin"]
    more = outlived["pytest_aquila.plugin"] - outlived["no:aquila"]
    watched = {"pytest", "_pytest"}
    if "_pytest.config" not in outlived["no:aquila"]:
        watched.add("pytest_aquila")
    assert {name for name in more if name.partition(".")[0] in watched} == set()


def test_without_openai_each_call_names_the_command_that_installs_it() -> None:
    shown = run(
        """
        import asyncio, sys
        sys.modules.update(dict.fromkeys({"openai", "pydantic", "pydantic_core", "jiter", "distro", "tqdm"}))
        from aquila import *
        import aquila
        for ask in (
            lambda: aquila.ask("hi"),
            lambda: aquila.stream("hi"),
            lambda: aquila.transcribe(b"sound"),
            lambda: aquila.retrieve_response("resp_1"),
            lambda: asyncio.run(aquila.aask("hi")),
        ):
            try:
                ask()
            except ImportError as error:
                print(type(error).__name__, *str(error).split())
        """
    )
    told = shown.splitlines()
    assert len(told) == 5
    assert all(line.startswith("MissingDependency aquila.ask needs the package 'openai'") for line in told)
    assert all("pip install 'aquila-llm[openai]'" in line for line in told)


@pytest.mark.slow
def test_with_an_openai_that_is_too_old_a_call_names_the_needed_version() -> None:
    shown = run(
        """
        import sys, types
        sys.modules["openai"] = types.SimpleNamespace(__version__="2.30.1")
        import aquila
        try:
            aquila.ask("hi")
        except aquila.errors.MissingDependency as error:
            print(error)
        """
    )
    assert "needs openai 3 or newer, and openai 2.30.1 is installed" in shown
    assert "pip install 'aquila-llm[openai]'" in shown


@pytest.mark.slow
def test_every_module_imports_without_openai() -> None:
    failures = run(
        """
        import importlib, sys, traceback

        sys.modules.update(dict.fromkeys({"openai", "pydantic", "pydantic_core", "jiter", "distro", "tqdm"}))
        for name in sys.argv[1:]:
            try:
                importlib.import_module(name)
            except BaseException:
                print(f"{name}: {traceback.format_exc()}")
        """,
        *modules(),
    )
    assert failures == ""


REPLAYED = """
import openai

def test_replays(aquila_cassette):
    with openai.OpenAI(base_url="https://api.example/v1", api_key="a-key", max_retries=0) as client:
        client.models.list()
"""
NEEDED_BY_NO_REPLAY = {
    "aquila.hookspecs",
    "aquila.optional",
    "aquila.spelling",
    "aquila.cassettes.answers.answer_text",
    "aquila.cassettes.codecs.event_streams.stream_reader",
    "aquila.cassettes.codecs.yaml",
    "aquila.cassettes.content_codings",
    "aquila.cassettes.storage.cassette_lock",
    "aquila.cassettes.web_socket_frames.frame",
    "aquila.cassettes.web_socket_frames.replay",
    "aquila.cassettes.web_socket_frames.sound_chunks",
    "aquila.cassettes.matching.miss_message",
    "aquila.cassettes.matching.fresh_value_placeholders",
    "aquila.cassettes.redaction.known_secrets",
    "aquila.cassettes.redaction.scrubber",
    "aquila.cassettes.redaction.secret_patterns",
    "aquila.cassettes.storage.merging",
    "aquila.recording.askers",
    "aquila.recording.installed_code",
    "aquila.recording.miss_outcomes",
    "aquila.recording.network.guard",
    "aquila.recording.network.no_network",
    "aquila.recording.reporting.drift_watch",
    "aquila.recording.sessions.put_aside",
    "aquila.recording.storing.recording_age",
    "aquila.transports.callers.disconnected_caller",
    "aquila.transports.live",
    "aquila.transports.record",
    "aquila.transports.requested_delay",
    "aquila.transports.silence",
    "aquila.transports.upload_spool",
    "pytest_aquila.summary.miss_report",
    "pytest_aquila.summary.run_news",
    "pytest_aquila.summary.summary_layout",
    "pytest_aquila.summary.totals_news",
    "pytest_aquila.tasks.named_hueys",
}


@pytest.mark.slow
def test_a_replay_of_equal_requests_loads_nothing_that_searches_for_secrets(tmp_path: Path) -> None:
    (tmp_path / "test_replayed.py").write_text(REPLAYED)
    cassette = tmp_path / "cassettes" / "test_replayed" / "test_replays.yaml"
    interaction = Interaction(
        RecordedRequest("GET", "https://api.example/v1/models", (("accept", "application/json"),)),
        RecordedResponse(
            200, (("content-type", "application/json"),), (RecordedChunk(b'{"object":"list","data":[]}'),)
        ),
    )
    save_cassette(cassette, Cassette.from_interactions([interaction]))
    code = """
        import contextlib, io, json, os, sys
        import pytest
        os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_aquila.plugin"}
        with contextlib.redirect_stdout(io.StringIO()):
            assert pytest.main(["-q", "--rootdir", sys.argv[1], sys.argv[1]]) == 0
        print(json.dumps(sorted(sys.modules)))
        """
    run(code, str(tmp_path))  # leaves a compiled copy
    loaded = set(json.loads(run(code, str(tmp_path))))
    assert "aquila.transports.replay" in loaded
    assert sorted(loaded & NEEDED_BY_NO_REPLAY) == []
