"""The suite's own surroundings: what a developer's shell happens to hold must not decide a test."""

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
from tests.support.inner_runs import ModulesOfTests, quick_inner_runs
from tests.support.rewriting import rewrite_a_share
from tests.support.runs import separate_run

for _name in list(os.environ):
    if _name.startswith(("OPENAI_", "AQUILA_")) and _name not in ("AQUILA_CORPUS", "AQUILA_FUZZ"):
        del os.environ[_name]
# Of a suite that uv has started every command would begin with `uv run`.
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)
# Children compile every module again where bytecode must not be written, and many tests start children.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Tests talk to servers on this machine; a proxy that was needed to install packages must not stand between.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"
# A shell lets what it starts in the background ignore Ctrl-C, and so would the children that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_WITHOUT_IDLE_PLUGINS = "-p no:hypothesispytest -p no:anyio -p no:time_machine -p no:xdist.looponfail"
"""For runs of pytest that tests start: of the plugins of the environment these take longest, and have nothing to do."""

_EXAMPLES = {"not slow": 10, "not nightly": 50}
"""How many examples hypothesis tries of each test, by what a run leaves out. One that leaves nothing out: a hundred."""


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Let the garbage collector forget what lives as long as the process, at which it would look ever again."""
    gc.disable()
    try:
        if (worker := getattr(session.config, "workerinput", None)) is not None:
            rewrite_a_share(session.config, int(worker["workerid"].removeprefix("gw")), worker["workercount"])
        yield
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Behind each module, collect what its tests have left behind, and let the garbage collector forget the rest.

    What modules load lives as long as the process, too. Looked at again and again, it takes a tenth of the time of all
    tests; and garbage that complains is found out near the test that it is of.
    """
    result = yield  # only now the test has let go of the values of its fixtures
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
    return result


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the tests that take longest begin first, so that no process is left alone with one at the end.

    Each process of a distributed run is given a stretch of the list, and takes of others' when it is through with it.
    """
    begin_with_the_longest(items, getattr(config, "workerinput", {}).get("workercount", 1))


def pytest_configure(config: pytest.Config) -> None:
    """Be patient on a slow machine, and let hypothesis try fewer examples where slow tests are left out."""
    tell_less(config)
    if find_spec("hypothesis") is None:  # the environments of tests/wild have none
        return
    import httpx
    import httpx2
    from hypothesis import HealthCheck, settings
    from hypothesis.internal.conjecture import providers
    from hypothesis.internal.entropy import deterministic_PRNG

    from tests.support.authorities import share_authorities

    share_authorities()
    # Both give a request five seconds, which a busy machine may need.
    for limits in (httpx._config.DEFAULT_TIMEOUT_CONFIG, httpx2._config.DEFAULT_TIMEOUT_CONFIG):
        limits.connect = limits.read = limits.write = limits.pool = 60.0
    examples = next((few for left_out, few in _EXAMPLES.items() if left_out in config.option.markexpr), 100)
    # How fast this machine is decides no test.
    settings.register_profile(
        "suite",
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        derandomize="AQUILA_FUZZ" not in os.environ,
    )
    settings.load_profile("suite")
    # With its first example it looks who refers to its random numbers, and warns if it finds nobody. Python tells of
    # nobody who was there before `gc.freeze`, which is called above.
    with deterministic_PRNG():
        pass
    if "AQUILA_FUZZ" not in os.environ and hasattr(providers, "_get_local_constants"):
        # It draws the constants of all modules that are loaded by then: a test would try other examples beside other
        # tests, and after each change of any module. To read them takes each process seconds, too.
        nothing = providers.Constants()
        providers._get_local_constants = lambda: nothing


@pytest.fixture(scope="session", autouse=True)
def _runs_without_idle_plugins() -> Iterator[None]:
    """In the processes that run tests: their own workers have all plugins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", _WITHOUT_IDLE_PLUGINS)
        yield


# pytester takes one for each test, and one for each run.
_pytest.pytester.SysModulesSnapshot = ModulesOfTests  # type: ignore[misc]


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytest's own, whose runs leave out the same plugins as all others, and are quick in this process."""
    monkeypatch.setenv("PYTEST_ADDOPTS", _WITHOUT_IDLE_PLUGINS)

    def quickly(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_quickly(*arguments: Any, **options: Any) -> Any:
            with quick_inner_runs():
                return run(*arguments, **options)

        return run_quickly

    for name in ("inline_run", "parseconfigure", "getnode"):
        monkeypatch.setattr(pytester, name, quickly(getattr(pytester, name)))
    return pytester


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cassette folder of a project of its own, outside pytest's rules and outside this test's scope."""

    with separate_run(tmp_path):
        yield tmp_path / "cassettes"
