"""A drop-in layer for suites that were written for pytest-recording; off unless ``aquila_vcr_compat = true``.

``@pytest.mark.vcr`` gives a test a cassette where pytest-recording keeps it; ``vcr_config``, ``vcr_cassette_dir``,
``default_cassette``, ``--record-mode`` and ``--disable-recording`` are understood. Requests are compared with their
content, as everywhere in Aquila, unless ``match_on`` says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from pytest_aquila.options import COMPAT

if TYPE_CHECKING:
    from aquila.recording import used_cassette
    from aquila.recording.used_cassette import UsedCassette
    from pytest_aquila import test_scopes
else:
    lazy_modules(globals(), test_scopes="pytest_aquila.test_scopes", used_cassette="aquila.recording.used_cassette")

RECORD_MODES = ("none", "once", "new_episodes", "all", "rewrite")
_REPLACED_PLUGINS = {"recording": "pytest-recording", "vcr": "pytest-vcr"}
_FORBIDDEN = str.maketrans(dict.fromkeys("<>?%*:|\"'/\\", "-"))

_MATCHERS = {
    "method": ("method",),
    "scheme": (),
    "port": (),
    "host": ("host",),
    "path": ("path",),
    "query": ("query",),
    "uri": ("host", "path", "query"),
    "url": ("host", "path", "query"),
    "body": ("body",),
    "raw_body": ("body",),
    "headers": ("headers",),
}
_SETTINGS_WITHOUT_EFFECT = frozenset(
    {"filter_headers", "decode_compressed_response", "serializer", "cassette_library_dir", "record_on_exception"}
)
"""Settings of vcrpy that have nothing left to do: headers are stored by a list, bodies decoded, formats found."""


def turn_on(config: pytest.Config, parser: pytest.Parser) -> None:
    """Turn the layer on, before the command line is read for good. Raises ``UsageError`` beside its original."""
    manager = config.pluginmanager
    for name, package in _REPLACED_PLUGINS.items():
        if manager.hasplugin(name):
            raise pytest.UsageError(
                f"{COMPAT} stands in for {package}, and both are here: uninstall {package}, or run with -p no:{name}"
            )
    group = parser.getgroup("aquila")
    group.addoption("--record-mode", choices=RECORD_MODES, default=None, help="As in pytest-recording.")
    group.addoption("--disable-recording", action="store_true", help="Live, without cassettes.")
    group.addoption("--block-network", action="store_true", help="Refuse every connection but loopback's.")
    manager.register(sys.modules[__name__], "aquila-compat")


def settings_from(config: Mapping[str, Any], *, mode: str | None, path: Path) -> dict[str, Any]:
    """Return Aquila's settings for a configuration of vcrpy.

    ``config`` is the configuration. ``mode`` is the record mode of the command line, which comes before that of
    ``config``. ``path`` is the file of the cassette. Raises ``ConfigError`` for what has no counterpart.
    """
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if name in _TRANSLATIONS:
            option, translate = _TRANSLATIONS[name]
            settings[option] = translate(value)
        elif name == "record_mode":
            mode = mode or getattr(value, "value", value)
        elif name not in _SETTINGS_WITHOUT_EFFECT:
            raise ConfigError(
                f"vcr_config: {name!r} has no counterpart in Aquila; remove it (see the guide on migrating for what to "
                "use instead)"
            )
    return settings | _settings_of_mode(str(mode or "none"), path)


def _translate_match_on(matchers: Iterable[str]) -> list[str]:
    """The parts of a request that vcrpy's matchers compare."""
    unknown = set(matchers) - _MATCHERS.keys()
    if unknown:
        raise ConfigError(f"vcr_config: no matcher {', '.join(sorted(unknown))}; known are {', '.join(_MATCHERS)}")
    return list(dict.fromkeys(part for matcher in matchers for part in _MATCHERS[matcher]))


def _translate_parameters(parameters: Iterable[str | tuple[str, Any]]) -> list[str]:
    """The names of parameters, each given alone or with its replacement."""
    return [parameter if isinstance(parameter, str) else parameter[0] for parameter in parameters]


_TRANSLATIONS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "match_on": ("match_on", _translate_match_on),
    "ignore_hosts": ("ignore_hosts", list),
    "ignore_localhost": ("loopback", lambda value: "none" if value else "all"),
    "allow_playback_repeats": ("repeat", lambda value: "last" if value else "error"),
    "filter_post_data_parameters": ("ignore", _translate_parameters),
}
"""Settings of vcrpy, each with the option of Aquila that it becomes, and how its value is translated."""


def _settings_of_mode(mode: str, path: Path) -> dict[str, str]:
    if mode not in RECORD_MODES:
        raise ConfigError(f"record mode {mode!r}; known are {', '.join(RECORD_MODES)}")
    if mode == "none" or (mode == "once" and path.exists()):
        return {"transport": "replay"}
    return {"transport": "record", "record": "all" if mode in ("all", "rewrite") else "missing"}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    for line in (
        "vcr(**config): this test uses a cassette, as in pytest-recording",
        "default_cassette(name): the name of its cassette",
        "block_network: refuse every connection but loopback's",
    ):
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that use a cassette the fixture that opens it; the others pay for nothing."""
    for item in items:
        marked = item.get_closest_marker("vcr") or item.get_closest_marker("block_network")
        fixtures = getattr(item, "fixturenames", None)
        blocked = item.config.getoption("--block-network")
        if (marked is not None or blocked) and fixtures is not None and "vcr" not in fixtures:
            fixtures.insert(0, "vcr")


@pytest.fixture(scope="session")
def record_mode(request: pytest.FixtureRequest) -> str:
    """The record mode of the run."""
    return request.config.getoption("--record-mode") or "none"


@pytest.fixture
def vcr_config() -> dict[str, Any]:
    """The configuration; override it as in pytest-recording."""
    return {}


@pytest.fixture(scope="module")
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    """The folder of a module's cassettes."""
    return str(request.path.parent / "cassettes" / request.path.stem)


@pytest.fixture
def default_cassette_name(request: pytest.FixtureRequest) -> str:
    """The name of a test's cassette."""
    marker = request.node.get_closest_marker("default_cassette")
    if marker is not None:
        return str(marker.args[0])
    name = request.node.name if request.cls is None else f"{request.cls.__name__}.{request.node.name}"
    return str(name).translate(_FORBIDDEN)


@pytest.fixture
def vcr(
    request: pytest.FixtureRequest,
    vcr_config: dict[str, Any],
    vcr_cassette_dir: str,
    default_cassette_name: str,
) -> Iterator[UsedCassette | None]:
    """The cassette of a test that is marked, else None."""
    node, option = request.node, request.config.getoption
    markers = list(node.iter_markers("vcr"))
    blocked = option("--block-network") or node.get_closest_marker("block_network") is not None
    if blocked:
        test_scopes.scope_of(node).override_settings({"guard": "all"}, source=f"{node.nodeid}: block_network")
    if option("--disable-recording"):
        test_scopes.scope_of(node).override_settings({"transport": "live"}, source="--disable-recording")
    if not markers or option("--disable-recording"):
        yield None
        return
    merged = _merge_markers(vcr_config, markers, node.nodeid)
    path = Path(vcr_cassette_dir, default_cassette_name)
    path = path if path.suffix in (".yaml", ".msgpack") else path.with_name(f"{path.name}.yaml")
    settings = settings_from(merged, mode=option("--record-mode"), path=path)
    if option("aquila_record") is not None or option("aquila_transport") is not None or option("aquila_drift"):
        for name in ("transport", "record"):  # Aquila's own options come first
            settings.pop(name, None)
    if option("aquila_drift"):
        settings.pop("match_on", None)
    scope = test_scopes.scope_of(node)
    scope.override_settings({**settings, "cassette_dir": vcr_cassette_dir}, source=f"{node.nodeid}: vcr_config")
    scope.use_cassette(default_cassette_name, owned=True)
    yield used_cassette.UsedCassette(scope)


def _merge_markers(config: Mapping[str, Any], markers: Sequence[pytest.Mark], test: str) -> dict[str, Any]:
    """The configuration of a test: that of its module, then that of its markers; the closest marker wins."""
    merged = dict(config)
    for marker in reversed(markers):
        if marker.args:
            raise ConfigError(
                f"{test}: @pytest.mark.vcr with files of its own has no counterpart; put their recordings into the "
                "test's cassette, or name one with @pytest.mark.default_cassette"
            )
        merged.update(marker.kwargs)
    return merged
