"""A pytest run whose ini file lists a loopback server as a provider, with a module of functions that send requests."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pytest

from tests.support.forgiving import FORGIVING
from tests.support.upstream import Upstream


class GuardedRun:
    """Runs a file of tests. They can use the provider's ``URL``, ``HOST`` and ``PORT``, and a function for each way."""

    def __init__(self, pytester: pytest.Pytester, provider: Upstream, ways: Mapping[str, str] | None = None) -> None:
        """``ways`` are ways to send a request: the source of a function's body, by the function's name."""
        self._pytester = pytester
        self._address = provider.url.removeprefix("http://")
        self._ways = ways or {}

    def __call__(
        self, tests: str, *arguments: str, subprocess: bool = False, ini: str = "", providers: str | None = None
    ) -> pytest.RunResult:
        """Run ``tests``. The ini file lists ``providers`` instead of the server. A test may catch a miss and pass."""
        listed = self._address if providers is None else providers
        self._pytester.makeini(f"[pytest]\naquila_providers = {listed}\n{ini}")
        host, _, port = self._address.partition(":")
        ways = [
            f"URL, HOST, PORT = 'http://{self._address}/v1/chat/completions', {host!r}, {port}",
            f"NAMES = {sorted(self._ways)}",
        ]
        for name, code in self._ways.items():
            ways += [f"def {name}():", textwrap.indent(textwrap.dedent(code), "    ")]
        self._pytester.makepyfile(
            forgiving=FORGIVING,
            ways="\n".join(ways),
            test_it=f"import pytest\nimport ways\nfrom ways import *\n{textwrap.dedent(tests)}",
        )
        self._pytester.syspathinsert()
        start = self._pytester.runpytest_subprocess if subprocess else self._pytester.runpytest_inprocess
        return start("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "forgiving", *arguments)
