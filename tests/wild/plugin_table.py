"""The plugins that `make test-wild` tries beside Aquila: a row is one way to use one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PLAIN = ("test_plain.py",)
PLAIN_OUTCOMES = {"passed": 8, "skipped": 1, "xfailed": 1}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One way to use a plugin.

    ``distribution`` is its package, None for what comes with pytest or Python. ``load`` are the names under which its
    package registers it, and those of the plugins that its tests need besides. ``files`` are its tests, below
    ``tests/wild/plugins``. ``arguments`` go to pytest. ``outcomes`` is what every run but the one after a changed
    prompt comes to; ``recording`` gives arguments and outcomes that the recording run has instead. ``alone`` says that
    it cannot be in one run with all the others. ``only_in`` is the one environment in which it works at all.
    """

    name: str
    distribution: str | None
    load: tuple[str, ...]
    files: tuple[str, ...]
    outcomes: Mapping[str, int] = field(default_factory=lambda: {"passed": 1})
    arguments: tuple[str, ...] = ()
    recording: tuple[tuple[str, ...], Mapping[str, int]] | None = None
    alone: bool = False
    only_in: str | None = None


PLUGINS = (
    Plugin("pytest itself", None, (), PLAIN, PLAIN_OUTCOMES),
    Plugin("unittest", None, (), ("test_unittest.py",), {"passed": 4, "skipped": 1, "xfailed": 1}),
    Plugin(
        "doctest", None, (), ("doctests",), {"passed": 3}, ("--doctest-modules", "--doctest-glob=*.rst"), alone=True
    ),
    Plugin("pytester in process", None, (), ("test_pytester.py",)),
    Plugin("pytest-asyncio, strict", "pytest-asyncio", ("asyncio",), ("test_asyncio_strict.py",), {"passed": 5}),
    Plugin(
        "pytest-asyncio, auto",
        "pytest-asyncio",
        ("asyncio",),
        ("test_asyncio_auto.py",),
        {"passed": 4},
        ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=module"),
        alone=True,
    ),
    Plugin("anyio", "anyio", ("anyio",), ("test_anyio.py",), {"passed": 5, "skipped": 1}),
    Plugin("pytest-trio", "pytest-trio", ("trio",), ("test_trio.py",)),
    Plugin("pytest-django", "pytest-django", ("django",), ("test_django.py",), {"passed": 4}),
    *(
        Plugin(
            f"pytest-xdist, {dist}",
            "pytest-xdist",
            ("xdist",),
            PLAIN,
            {name: count * (2 if dist == "each" else 1) for name, count in PLAIN_OUTCOMES.items()},
            ("--dist=each", "--tx=2*popen") if dist == "each" else (f"--dist={dist}", "-n2"),
            alone=True,
        )
        for dist in ("load", "loadscope", "worksteal", "each")
    ),
    Plugin(
        "pytest-xdist, loadgroup",
        "pytest-xdist",
        ("xdist",),
        ("test_groups.py",),
        {"passed": 3},
        ("--dist=loadgroup", "-n2"),
        alone=True,
    ),
    Plugin("pytest-randomly", "pytest-randomly", ("randomly",), PLAIN, PLAIN_OUTCOMES),
    Plugin(
        "pytest-rerunfailures",
        "pytest-rerunfailures",
        ("rerunfailures",),
        ("test_rerunfailures.py",),
        {"passed": 1, "rerun": 1},
        ("--reruns=2",),
        alone=True,
    ),
    Plugin("pytest-retry", "pytest-retry", ("pytest-retry",), PLAIN, PLAIN_OUTCOMES, ("--retries=2",), alone=True),
    Plugin("flaky", "flaky", ("flaky",), ("test_flaky.py",)),
    Plugin(
        "pytest-timeout, signal",
        "pytest-timeout",
        ("timeout",),
        ("test_timeout.py",),
        {"passed": 1, "failed": 1},
        ("--timeout-method=signal",),
        alone=True,
    ),
    Plugin("pytest-timeout, thread", "pytest-timeout", ("timeout",), ("test_timeout_thread.py",)),
    Plugin("pytest-cov", "pytest-cov", ("pytest_cov",), PLAIN, PLAIN_OUTCOMES, ("--cov=app",), alone=True),
    Plugin("pytest-subtests", "pytest-subtests", ("subtests",), ("test_subtests.py",)),
    Plugin("syrupy", "syrupy", ("syrupy",), ("test_syrupy.py",), recording=(("--snapshot-update",), {"passed": 1})),
    Plugin(
        "inline-snapshot",
        "inline-snapshot",
        ("inline_snapshot",),
        ("test_inline_snapshot.py",),
        recording=(("--inline-snapshot=create",), {"passed": 1, "errors": 1}),
    ),
    Plugin("hypothesis", "hypothesis", ("hypothesispytest",), ("test_hypothesis.py",)),
    Plugin("pytest-mock", "pytest-mock", ("pytest_mock",), ("test_mock.py",)),
    Plugin("pytest-env", "pytest-env", ("env",), ("test_env.py",)),
    Plugin("pytest-sugar", "pytest-sugar", ("sugar",), PLAIN, PLAIN_OUTCOMES, alone=True),
    Plugin("pytest-order", "pytest-order", ("pytest_order",), ("test_order.py",), {"passed": 2}),
    Plugin("pytest-benchmark", "pytest-benchmark", ("benchmark",), ("test_benchmark.py",)),
    Plugin("blockbuster", "blockbuster", ("anyio",), ("test_blockbuster.py",), {"passed": 3}),
    Plugin("freezegun", "freezegun", (), ("test_frozen_time.py",)),
    Plugin("time-machine", "time-machine", ("time_machine",), ("test_time_machine.py",)),
    Plugin("pytest-socket", "pytest-socket", ("socket",), PLAIN, PLAIN_OUTCOMES, ("--disable-socket",), alone=True),
    # Under pytest 9 each of its tests ends with status 3, without Aquila too.
    Plugin(
        "pytest-forked",
        "pytest-forked",
        ("pytest_forked",),
        PLAIN,
        PLAIN_OUTCOMES,
        ("--forked",),
        alone=True,
        only_in="wild-oldest",
    ),
    Plugin(
        "pytest-repeat",
        "pytest-repeat",
        ("repeat",),
        ("test_env.py",),
        {"passed": 3},
        ("--count=3", "-p", "env"),
        alone=True,
    ),
    # The first failure, on false files, loads what makes reports: they must not be in its way afterwards.
    Plugin("pyfakefs", "pyfakefs", ("fakefs",), ("test_pyfakefs.py",), {"passed": 1, "failed": 2}, alone=True),
    Plugin(
        "allure-pytest", "allure-pytest", ("allure_pytest",), PLAIN, PLAIN_OUTCOMES, ("--alluredir=allure",), alone=True
    ),
    Plugin(
        "pytest-html", "pytest-html", ("html", "metadata"), PLAIN, PLAIN_OUTCOMES, ("--html=report.html",), alone=True
    ),
    Plugin(
        "pytest-json-report",
        "pytest-json-report",
        ("pytest_jsonreport",),
        PLAIN,
        PLAIN_OUTCOMES,
        ("--json-report",),
        alone=True,
    ),
    Plugin("nbmake", "nbmake", ("nbmake",), ("notebooks",), {"passed": 1}, ("--nbmake", "notebooks"), alone=True),
    # Each test in two threads at once.
    Plugin(
        "pytest-run-parallel",
        "pytest-run-parallel",
        ("run-parallel",),
        PLAIN,
        PLAIN_OUTCOMES,
        ("--parallel-threads=2",),
        alone=True,
    ),
    # Datadog's, which patches clients of HTTP and of models, too.
    Plugin("ddtrace", "ddtrace", ("ddtrace",), PLAIN, PLAIN_OUTCOMES, ("--ddtrace", "--ddtrace-patch-all"), alone=True),
    Plugin("pytest-bdd", "pytest-bdd", ("pytest-bdd",), ("test_bdd.py", "answer.feature")),
    Plugin(
        "mocks of HTTP clients",
        "respx",
        ("respx", "pytest_httpx", "requests_mock", "pytest_httpserver"),
        ("test_mocks.py",),
        {"passed": 10},
    ),
)
