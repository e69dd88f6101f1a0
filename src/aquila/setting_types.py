"""The types of settings, for annotations. Aquila itself never imports this at run time.

At run time the settings come from ``aquila.config.OPTION_ROWS``. A test keeps these rows and the types below equal. The
rows are not made of the types, because the plugin loads ``config`` in every test run: building typed dictionaries would
take longer than the rest of that module.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypedDict

Words: TypeAlias = str | Sequence[str]
"""Several words: a list, or text with spaces or commas between them."""


class CassetteOptions(TypedDict, total=False):
    """The settings that ``use_cassette`` takes."""

    transport: str | None
    upstream: str | None
    record: Literal["missing", "all", "pending"] | None
    cassette_dir: str | PathLike[str] | None
    base_url: str | None
    api_key: str | None
    model: str | None
    timeout: float | None
    replay_timing: Literal["instant", "recorded"] | float | None
    silence: float | None
    match_on: Words | None
    ignore: Words | None
    ignore_query: Words | None
    normalize: Words | None
    keep_headers: Words | None
    repeat: Literal["error", "last", "first"] | None
    record_errors: Literal["last", "all"] | None
    record_budget: Words | None
    durable: Literal["off", "fsync"] | None
    unplayed: Literal["ignore", "warn", "fail"] | None
    unused: Literal["fail", "warn", "ignore"] | None
    faults: str | Sequence[str] | None
    max_age: str | float | None
    outdated: Literal["warn", "fail"] | None
    prices: str | PathLike[str] | None
    guard: Literal["providers", "all", "off"] | None
    sealed_ports: Words | int | Sequence[int] | None
    ignore_hosts: Words | None
    ignore_hueys: Words | None
    loopback: Literal["models", "all", "none"] | None
    providers: Words | None
    side_requests: Words | None
    dummy_keys: Words | None
    log_content: Literal["off", "on"] | None
    script: str | None
    local_model: str | PathLike[str] | None


class MarkerOptions(CassetteOptions, total=False):
    """The keyword arguments of ``@pytest.mark.aquila``: the settings, and the name of the test's cassette.

    Type checkers accept any argument of a mark. Annotate a dict with this type and pass it as
    ``pytest.mark.aquila(**options)`` to have the names and values checked.
    """

    cassette: str


class StartSettings(Protocol):
    """The part of ``Settings`` that each run asks for when it starts; see ``SettingsLayers.at_start``."""

    @property
    def root(self) -> Path: ...
    @property
    def cassette_dir(self) -> str: ...
    @property
    def transport(self) -> str: ...
    @property
    def upstream(self) -> str: ...
    @property
    def guard(self) -> str: ...
    @property
    def dummy_keys(self) -> tuple[str, ...]: ...
