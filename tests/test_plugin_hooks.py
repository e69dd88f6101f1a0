"""The hooks by which plugins add transports, codecs and redactors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.cassettes.codecs import codec_for
from aquila.errors import ConfigError
from aquila.plugins import plugin_manager


def plugin_with(hook: str, function: Callable[..., Any], **options: Any) -> Any:
    """A plugin that has one hook. ``options`` are those of ``hookimpl``."""
    return type("Example", (), {hook: staticmethod(aquila.hookspecs.hookimpl(**options)(function))})()


@contextmanager
def registered(*plugins: Any) -> Iterator[None]:
    for each in plugins:
        aquila.register(each)
    try:
        yield
    finally:
        for each in plugins:
            aquila.unregister(each)


def ask() -> str:
    with aquila.http_client(transport="canned") as http:
        return http.get("https://provider.example/v1/x").text


def test_a_hook_wrapper_can_change_the_results_of_plugins() -> None:
    def say(text: str) -> httpx2.BaseTransport:
        return httpx2.MockTransport(lambda request: httpx2.Response(200, text=text))

    def wrap() -> Generator[None, list[Any], list[Any]]:
        tables = yield
        return [{"canned": lambda: say("wrapped " + " ".join(tables[0]))}]

    plain = plugin_with("aquila_transports", lambda: {"plain": lambda: say("plain")})
    with registered(plain, plugin_with("aquila_transports", wrap, wrapper=True)):
        assert ask() == "wrapped plain"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (str, "gave type"),
        ("a", "gave str"),
        ([str, "secret"], "gave a list with str"),
    ],
)
def test_invalid_redactors_are_refused_before_anything_is_recorded(given: Any, told: str, tmp_path: Path) -> None:
    expected = (
        rf"^the hook aquila_redactors \(of Example\) {told}; it must give a list of functions that redact a text$"
    )
    with (
        registered(plugin_with("aquila_redactors", lambda: given)),
        pytest.raises(ConfigError, match=expected),
        aquila.use_cassette("x", cassette_dir=tmp_path),
        aquila.http_client() as http,
    ):
        http.get("https://provider.example/v1/x")


class Named:
    suffix = "xml"

    def dumps(self) -> None: ...

    def loads(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "told"), [(Named(), "gave Named"), ([Named()], "gave a list with Named"), ([5], "gave a list with int")]
)
def test_invalid_codecs_are_refused(given: Any, told: str) -> None:
    expected = rf"^the hook aquila_codecs \(of Example\) {told}; it must give a list of codecs, with a suffix such as"
    with registered(plugin_with("aquila_codecs", lambda: given)), pytest.raises(ConfigError, match=expected):
        codec_for(Path("a.xml"))


def test_a_plugin_with_a_misspelt_hook_is_refused_and_the_right_name_is_suggested() -> None:
    misspelt = plugin_with("aquila_cal_start", lambda: None)
    with pytest.raises(ConfigError, match="no hook 'aquila_cal_start'; did you mean 'aquila_call_start'"):
        aquila.register(misspelt)
    assert not plugin_manager().is_registered(misspelt)


def test_an_installed_plugin_for_a_newer_version_does_not_block_other_plugins() -> None:
    newer = plugin_with("aquila_hook_of_a_newer_version", lambda: None)
    plugin_manager().register(newer)  # as an entry point is loaded, without a check
    try:
        with registered(plugin_with("aquila_call_stop", lambda: None)):
            pass
    finally:
        plugin_manager().unregister(newer)
