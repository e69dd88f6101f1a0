"""A run of pytest whose ini file lists a server on loopback as a provider, with a module of ways to ask it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pytest

from tests.support.forgiving import FORGIVING
from tests.support.upstream import Upstream


class GuardedRun:
    """Runs a file of tests. In it ``URL``, ``HOST`` and ``PORT`` are the provider's, and each way is a function."""

    def __init__(self, pytester: pytest.Pytester, provider: Upstream, ways: Mapping[str, str] | None = None) -> None:
        """``ways`` are bodies of functions, by name."""
        self._pytester = pytester
        self._address = provider.url.removeprefix("http://")
        self._ways = ways or {}

    def __call__(
        self, tests: str, *arguments: str, subprocess: bool = False, ini: str = "", providers: str | None = None
    ) -> pytest.RunResult:
        """Run ``tests``. ``providers`` are listed in the place of the server; a miss that is caught fails no test."""
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
