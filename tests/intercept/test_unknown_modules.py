"""A module that lacks what Aquila patches stays as it is: it can be imported, and the summary says what follows."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aquila.config import SettingsLayers
from aquila.intercept.patching import ImportHooks, Patch, PatchSet
from aquila.recording import runtime
from tests.support.slow import slow_but


class Client:
    def send(self) -> str:
        return "theirs"


def patch_what_is_not_there(module: ModuleType) -> Iterable[Patch]:
    yield Patch(Client, "send", lambda original: lambda client: "ours")
    yield Patch(Client, "send_later", lambda original: original)


def test_it_keeps_no_part_of_its_patches_and_others_are_patched() -> None:
    def patch_known(module: ModuleType) -> Iterable[Patch]:
        yield Patch(Known, "send", lambda original: lambda client: "ours")

    class Known(Client):
        pass

    patches = PatchSet(ImportHooks(), {__name__: patch_what_is_not_there, "json": patch_known})
    with runtime.Run(SettingsLayers(Path())):
        patches.put_in_force("one")
        assert Client().send() == "theirs"
        assert Known().send() == "ours"
        patches.withdraw("one")
        ((sentence, command),) = runtime.current_run().notes
    assert Known().send() == "theirs"
    assert not command
    assert sentence.startswith(f"Aquila does not know the module {__name__} (")
    assert "it has no send_later, so" in sentence


def test_a_stand_in_that_a_test_has_made_is_left_alone_and_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_client", ModuleType("a_client"))
    patches = PatchSet(ImportHooks(), {"a_client": patch_what_is_not_there})
    with runtime.Run(SettingsLayers(Path())):
        patches.put_in_force("one")
        patches.withdraw("one")
        assert not runtime.current_run().notes


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        (
            "httpx",
            "__version__ = '9.1'\nclass HTTPTransport:\n    def handle_request(self):\n        return 'theirs'",
            "Aquila does not know httpx 9.1: it has no AsyncHTTPTransport, so what it sends to providers is recorded, "
            "replayed or refused at Python's sockets",
        ),
        (
            "pycurl",
            "__version__ = '9.1'",
            "Aquila does not know pycurl 9.1: it has no Curl, so what it sends is neither recorded nor refused",
        ),
        pytest.param(
            "socks",
            "",
            "Aquila does not know the module socks ({path}/socks.py): it has no socksocket, so what it sends",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_its_import_does_not_fail(pytester: pytest.Pytester, name: str, source: str, says: Any) -> None:
    pytester.makepyfile(
        **{
            name: source,
            "test_it": f"import {name}\ndef test_it():\n    if '{name}' == 'httpx':\n"
            "        assert httpx.HTTPTransport().handle_request() == 'theirs'",
        }
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert says.format(path=pytester.path) in " ".join(line.strip() for line in result.outlines)


def test_a_library_without_a_guard_is_named_in_a_quiet_run_too(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(pycurl="", uvloop="", socks="", test_it="import pycurl, socks, uvloop\ndef test_it(): ...")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q")
    told = " ".join(line.strip() for line in result.outlines)
    assert re.search(r"does not know the module pycurl .*neither recorded nor refused \(and 1 more\)", told)
    assert "socks" not in told


@pytest.mark.parametrize("cassette", slow_but(["aquila_cassette"], ["", "aquila_cassette"]))
def test_one_that_only_a_child_process_imports_is_named_once(pytester: pytest.Pytester, cassette: str) -> None:
    pytester.makepyfile(
        pycurl="",
        socks="",
        test_it=f"""
        import subprocess, sys

        def test_it({cassette}):
            for _ in range(2):
                subprocess.run([sys.executable, "-c", "import pycurl, socks"], check=True)
        """,
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    told = " ".join(line.strip() for line in result.outlines)
    assert told.count("does not know the module pycurl") == told.count("does not know the module socks") == 1


def test_an_error_in_a_patch_of_pythons_own_modules_is_raised() -> None:
    patches = PatchSet(ImportHooks(), {"json": patch_what_is_not_there})
    with runtime.Run(SettingsLayers(Path())), pytest.raises(AttributeError, match="send_later"):
        patches.put_in_force("one")
    assert not patches.has_patches


@pytest.mark.slow
def test_every_library_that_is_installed_here_is_known(pytester: pytest.Pytester) -> None:
    """Whatever is wrong in a patch would else pass: the library stays as it is, and the guard is off there."""
    pytester.makepyfile(
        """
        import importlib
        from importlib.util import find_spec
        from aquila.intercept.activation import interception
        from aquila.recording import runtime

        def test_it(aquila_cassette):
            own = interception()
            names = {*own._client_patches._libraries, *own._connection_patches._libraries} - {"asyncio.windows_events"}
            here = {name for name in names if find_spec(name.partition(".")[0])}
            for name in here:
                importlib.import_module(name)
            assert len(here) > 20
            run = runtime.current_run()
            assert (dict(run.notes), dict(run.unguarded)) == ({}, {})
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
