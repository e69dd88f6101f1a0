"""The environment of the suite: the variables of a developer's shell must not decide a test."""

import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import _pytest.pytester
import pytest

from tests.support.brief_workers import tell_less
from tests.support.durations import begin_with_the_longest
from tests.support.forked_runs import starting_in_forks
from tests.support.inner_runs import WITHOUT_IDLE_PLUGINS, ModulesOfTests, quick_inner_runs
from tests.support.rewriting import rewrite_a_share
from tests.support.runs import separate_run

for _name in list(os.environ):
    if _name.startswith(("OPENAI_", "AQUILA_")) and _name not in ("AQUILA_CORPUS", "AQUILA_FUZZ"):
        del os.environ[_name]
# If uv has started the suite, Aquila would suggest commands that begin with `uv run`.
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)
# With this variable, each child process of a test would compile every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Containers and CI often set this one. It hides what programs do on most machines with text that cannot be written.
os.environ.pop("PYTHONUNBUFFERED", None)
# Tests send requests to servers on this machine, and these must not go through a proxy of the developer.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"
# A shell makes background commands ignore Ctrl-C. Child processes would inherit that, and some tests interrupt them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test takes the power away, and each flush waits for the disk. Tests that look at the flushes replace it themselves.
os.fsync = lambda descriptor: None

_EXAMPLES = {"not slow": 10, "not nightly": 50}
"""The number of examples of a hypothesis test, by the mark that a run leaves out. A complete run tries a hundred."""


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Hide the objects that live as long as the process from the garbage collector, which is slow to visit them."""
    gc.disable()
    try:
        if (worker := getattr(session.config, "workerinput", None)) is not None:
            rewrite_a_share(session.config, int(worker["workerid"].removeprefix("gw")), worker["workercount"])
        yield
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(20_000, 20, 20)  # what a test leaves is collected after its module at the latest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """After each module, collect the garbage of its tests, and hide all other objects from the garbage collector.

    Most other objects are modules, which live as long as the process. To visit them again and again takes a tenth of
    the time of all tests. And garbage that warns, such as an open socket, does so near the test that has left it.
    """
    result = yield  # the test has released the values of its fixtures only here
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
    return result


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no process is left alone with a long test at the end.

    Each process of a distributed run gets a stretch of the list. When it has run it, it takes tests from others.
    """
    begin_with_the_longest(items, getattr(config, "workerinput", {}).get("workercount", 1))


def pytest_configure(config: pytest.Config) -> None:
    """Set long time limits, and let hypothesis try fewer examples if the run leaves out slow tests."""
    tell_less(config)
    if find_spec("hypothesis") is None:  # the environments of tests/wild lack it
        return
    import httpx
    import httpx2
    from hypothesis import HealthCheck, settings
    from hypothesis.internal.conjecture import providers
    from hypothesis.internal.entropy import deterministic_PRNG

    from tests.support.authorities import share_authorities

    share_authorities()
    # The default of both libraries is five seconds, which is too short on a busy machine.
    for limits in (httpx._config.DEFAULT_TIMEOUT_CONFIG, httpx2._config.DEFAULT_TIMEOUT_CONFIG):
        limits.connect = limits.read = limits.write = limits.pool = 60.0
    examples = next((few for left_out, few in _EXAMPLES.items() if left_out in config.option.markexpr), 100)
    # The speed of this machine must not decide a test.
    settings.register_profile(
        "suite",
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize="AQUILA_FUZZ" not in os.environ,
    )
    settings.load_profile("suite")
    # At its first example, hypothesis looks for references to its random generator, and warns if it finds none. After
    # `gc.freeze`, which is called above, Python would report none.
    with deterministic_PRNG():
        pass
    if "AQUILA_FUZZ" not in os.environ and hasattr(providers, "_get_local_constants"):
        # Hypothesis uses the constants of all loaded modules as examples. So the examples of a test would depend on the
        # other tests and on each change of a module. To read the constants also takes seconds in each process.
        nothing = providers.Constants()
        providers._get_local_constants = lambda: nothing


@pytest.fixture(scope="session", autouse=True)
def _runs_without_idle_plugins() -> Iterator[None]:
    """Leave out the idle plugins in runs that tests start, but not in the workers of this run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", WITHOUT_IDLE_PLUGINS)
        yield


# pytester takes a snapshot for each test, and one for each run.
_pytest.pytester.SysModulesSnapshot = ModulesOfTests  # type: ignore[misc]


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytest's own fixture, whose runs leave out the idle plugins and share what they find out about plugins."""
    monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT_IDLE_PLUGINS)

    def quickly(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_quickly(*arguments: Any, **options: Any) -> Any:
            with quick_inner_runs(arguments):
                return run(*arguments, **options)

        return run_quickly

    for name in ("inline_run", "parseconfigure", "getnode"):
        monkeypatch.setattr(pytester, name, quickly(getattr(pytester, name)))
    monkeypatch.setattr(pytester, "popen", starting_in_forks(pytester.popen))
    return pytester


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cassette folder of a separate project, without pytest's settings and the scope of this test."""
    with separate_run(tmp_path):
        yield tmp_path / "cassettes"
