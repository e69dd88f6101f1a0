"""Transports that plugins name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

import aquila
from aquila.errors import ConfigError, UnknownTransport

URL = "https://provider.example/v1/x"


class Plugin:
    """Names a transport that says ``text``, and counts how often its factory is called."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.calls = 0

    @aquila.hookspecs.hookimpl
    def aquila_transports(self) -> dict[str, Callable[[], httpx2.BaseTransport]]:
        def make() -> httpx2.BaseTransport:
            self.calls += 1
            return httpx2.MockTransport(lambda request: httpx2.Response(200, text=self.text))

        return {"canned": make}


def ask() -> str:
    with aquila.http_client(transport="canned") as http:
        return http.get(URL).text


def test_a_name_means_what_the_plugins_say_that_are_registered_now() -> None:
    for text in ("one", "two"):
        plugin = aquila.register(Plugin(text))
        try:
            assert [ask(), ask()] == [text, text]
        finally:
            aquila.unregister(plugin)
        assert plugin.calls == 1
    with pytest.raises(UnknownTransport, match="unknown transport 'canned'"):
        ask()


class Listener:
    """A plugin that names no transport."""

    @aquila.hookspecs.hookimpl
    def aquila_call_start(self) -> None:
        """Hear of a call."""


def test_a_plugin_that_names_no_transport_changes_none_that_is_in_use() -> None:
    plugin = aquila.register(Plugin("one"))
    try:
        ask()
        listener = aquila.register(Listener())
        try:
            ask()
        finally:
            aquila.unregister(listener)
        ask()
    finally:
        aquila.unregister(plugin)
    assert plugin.calls == 1


class Careless:
    """A plugin that gives something else than a table of factories."""

    def __init__(self, given: Any) -> None:
        self.given = given

    @aquila.hookspecs.hookimpl
    def aquila_transports(self) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("given", "told"),
    [(["canned"], "gave list"), ("canned", "gave str"), ({"canned": 5}, "gave 'canned': int"), ({5: ask}, "gave 5: ")],
)
def test_a_plugin_that_gives_no_table_of_factories_is_named_with_what_is_expected(given: Any, told: str) -> None:
    plugin = aquila.register(Careless(given))
    try:
        with pytest.raises(ConfigError, match=rf"\(of Careless\) {told}.*; it must give a mapping from names to"):
            ask()
    finally:
        aquila.unregister(plugin)
