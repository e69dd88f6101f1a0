"""``Settings``, the one frozen record in which environment, ini file, command line, markers and arguments end.

Each option is declared once, in ``aquila.option_table``; its environment variable, ini key and parser derive from that
declaration. A value comes from the first of: argument or marker, command line, environment, ini file, default.
``SettingsLayers`` holds the sources of one run; ``aquila.recording.runtime`` says which run is current. What a scope
sets for itself is an ``OptionLayer`` above them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.option_table import OPTIONS

if TYPE_CHECKING:
    from aquila import errors, spelling
else:
    lazy_modules(globals(), errors="aquila.errors", spelling="aquila.spelling")

DUMMY_KEY = "aquila-no-key"
"""The API key that clients get where no real key is needed. Not a secret."""


_OPTION_OF_VARIABLE = {option.env: name for name, option in OPTIONS.items() if option.env}
_VARIABLES = tuple(_OPTION_OF_VARIABLE)
# Encoded once: `_option_variables` looks these up for each request.
_RAW_VARIABLES = tuple(map(os.fsencode, _VARIABLES))


def _raw_environment() -> Mapping[Any, Any]:
    """Return the environment as ``os.environ`` stores it, for comparisons only.

    ``os.environ`` encodes each name and decodes each value at each access. Done for every request, that would cost
    more than everything else in this module.
    """
    # `_data` is private to `os.environ`, here and in the functions below. Where it is missing or no dict, as under some
    # test tools, `os.environ` itself is used, which is only slower.
    inner = getattr(os.environ, "_data", None)
    return inner if isinstance(inner, dict) else os.environ


def _option_variables() -> tuple[Any, ...]:
    """Return the current values of the variables of ``_OPTION_OF_VARIABLE``, in a form that can only be compared."""
    inner = getattr(os.environ, "_data", None)
    if type(inner) is dict and os.name == "posix":  # the fast path: this runs for every request and every task
        return tuple(map(inner.get, _RAW_VARIABLES))
    variables = _raw_environment()
    return tuple(map(variables.get, _raw_names(variables, _VARIABLES)))


def _raw_names(variables: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str | bytes, ...]:
    """Return names in the form of the keys of ``variables``: bytes on POSIX, capital letters on Windows."""
    return _encode_texts(names) if isinstance(next(iter(variables), ""), bytes) else tuple(map(str.upper, names))


# By the texts alone, so no entry goes out of date. They are few: variables that have a meaning, and dummy values.
@functools.lru_cache(maxsize=64)
def _encode_texts(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    encoded = {text: os.fsencode(text) for text in dict.fromkeys(texts)}  # dummy values are nearly all the same
    return tuple(map(encoded.__getitem__, texts))


_set_of = functools.lru_cache(maxsize=16)(frozenset[str | bytes])


def find_missing_variables(names: Iterable[str]) -> list[str]:
    """Return those of the named environment variables that are not set."""
    variables, wanted = _raw_environment(), tuple(names)
    raw = _raw_names(variables, wanted)
    if variables.keys() >= _set_of(raw):  # the fast path, which almost every test takes
        return []
    return [name for name, own in zip(wanted, raw, strict=True) if own not in variables]


def find_variables_named(prefix: str) -> list[str]:
    """Return the names of the environment variables that begin with ``prefix``."""
    raw = os.fsencode(prefix)
    return [
        os.fsdecode(name)
        for name in tuple(_raw_environment())  # copied in one step, because another thread may change it
        if name.startswith(raw if isinstance(name, bytes) else prefix)
    ]


def find_variables_set_to(values: Mapping[str, str]) -> set[str]:
    """Return the names whose environment variable is set to exactly the value that ``values`` gives for it."""
    inner = getattr(os.environ, "_data", None)
    if type(inner) is not dict or os.name != "posix":
        return {name for name, value in values.items() if os.environ.get(name) == value}
    names, wanted = _encode_texts(tuple(values)), _encode_texts(tuple(values.values()))
    return {name for name, own, value in zip(values, names, wanted, strict=True) if inner.get(own) == value}


CHANGED_BY_EVERY_TEST = ("PYTEST_CURRENT_TEST", "AQUILA_SESSION", "AQUILA_QUEUES")
"""Variables that change with each test of a run. None of them holds a secret or a setting of a client."""


def read_environment() -> dict[str, str]:
    """Return the environment as it is now.

    The result is that of ``dict(os.environ)``, which decodes names and values one by one and takes ten times as long.
    """
    variables = dict(_raw_environment())  # copied in one step, because another thread may change the environment
    if not isinstance(next(iter(variables), ""), bytes):
        return dict(os.environ)
    # No variable of POSIX can contain a NUL byte, so joining with it loses nothing and decodes everything at once.
    names, values = (os.fsdecode(b"\0".join(part)).split("\0") for part in (variables.keys(), variables.values()))
    return dict(zip(names, values, strict=True))


def copy_environment_without(names: tuple[str, ...]) -> Mapping[Any, Any]:
    """Return a copy of the environment without some variables, only for comparing it with a later copy.

    The keys and values are in the form in which ``os.environ`` stores them, so they must not be read.
    """
    copy = dict(_raw_environment())
    for name in _raw_names(copy, names):
        copy.pop(name, None)
    return copy


_DEFAULTS = {name: option.default for name, option in OPTIONS.items()}


class Settings:
    """Everything that can be configured, resolved to final values. Immutable.

    The fields are written out and not generated by ``dataclass``: each test run imports this module, and generating a
    class takes more time than everything else that the plugin does when it loads.
    """

    root: Path
    """The folder to which relative folders are relative. Not an option: the run decides it."""
    transport: str
    upstream: str
    record: str
    cassette_dir: str
    base_url: str | None
    api_key: str | None
    model: str
    timeout: float
    replay_timing: float
    silence: float
    match_on: tuple[str, ...]
    ignore: tuple[str, ...]
    ignore_query: tuple[str, ...]
    normalize: tuple[str, ...]
    keep_headers: tuple[str, ...]
    repeat: str
    record_errors: str
    record_budget: str | None
    durable: str
    unplayed: str
    unused: str
    faults: str | None
    max_age: float | None
    outdated: str
    prices: str | None
    guard: str
    sealed_ports: tuple[int, ...]
    ignore_hosts: tuple[str, ...]
    ignore_hueys: tuple[str, ...]
    loopback: str
    providers: tuple[str, ...]
    side_requests: tuple[str, ...]
    dummy_keys: tuple[str, ...]
    log_content: str
    script: str | None
    local_model: str | None

    def __init__(self, *, root: Path = Path(), **values: Any) -> None:
        for name in values:
            if name not in OPTIONS:
                raise errors.UnknownOption(f"unknown option {name!r}{spelling.suggest_name(name, OPTIONS)}")
        # All at once, past `__setattr__`, which raises: each run makes several of these.
        vars(self).update(_DEFAULTS | values, root=root)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are immutable; use with_options({name}=...)")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, option in OPTIONS.items() if not option.secret)
        return f"Settings({', '.join(shown)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(vars(self).values())

    def with_options(self, options: Mapping[str, Any], *, source: str) -> Settings:
        """Return a copy with some options replaced, or these settings themselves if nothing changes.

        ``options`` maps field names to values or to their text; ``source`` names where they come from, for messages.
        Raises ``UnknownOption`` or ``ConfigError``.
        """
        replaced = {name: parse_option(name, value, source=source) for name, value in options.items()}
        if all(getattr(self, name) == value for name, value in replaced.items()):
            return self
        return Settings(**(vars(self) | replaced))

    def cassette_root(self) -> Path:
        """Return the absolute folder of the cassettes. Raises ``ConfigError`` if the working directory was deleted."""
        try:
            current = "" if self.root.is_absolute() or os.path.isabs(self.cassette_dir) else os.getcwd()
        except FileNotFoundError as error:
            raise errors.ConfigError(
                f"the folder of the cassettes, {self.cassette_dir!r}, is relative, and the working directory was "
                "deleted. Run in a folder that exists, or give an absolute one in AQUILA_CASSETTE_DIR"
            ) from error
        return _absolute_folder(self.root, self.cassette_dir, current)


# The working folder is part of the key, because programs and tests change it.
@functools.lru_cache(maxsize=64)
def _absolute_folder(root: Path, name: str, current: str) -> Path:
    return Path(current, root, name)


def ini_options() -> Iterator[tuple[str, str]]:
    """Yield each ini key (``aquila_<option>``) with its help, for the pytest plugin."""
    for name, option in OPTIONS.items():
        if option.ini:
            yield f"aquila_{name}", option.help


def parse_option(name: str, value: Any, *, source: str) -> Any:
    """Return the final value of one option given as text or as a value. ``source`` names its origin in messages."""
    option = OPTIONS.get(name)
    if option is None:
        raise errors.UnknownOption(f"{source}: unknown option {name!r}{spelling.suggest_name(name, OPTIONS)}")
    if value is None or value == option.default:
        return option.default
    try:
        return option.parse(_as_text(value))
    except (TypeError, ValueError) as error:
        shown = "" if option.secret else f" {value!r}"
        raise errors.ConfigError(f"{source}: {name}{shown}: {error} ({option.help})") from error


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value))
    # `bool` is a subclass of `int`, and no option is a truth value.
    if isinstance(value, bool) or not isinstance(value, (str, int, float, os.PathLike)):
        raise TypeError(f"must be text or a number, not {type(value).__name__}")
    return str(value)


_MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
"""Names of which at least one is found in the folder of a project."""


def find_project_folder(started: Path, cassette_dir: str) -> Path:
    """Return the folder of the project around the folder ``started``, for use where no ini file names it.

    It is the nearest folder, from ``started`` upward, that has a folder of cassettes named ``cassette_dir``. If there
    is none, it is the nearest that has a mark of a project, and else ``started``.
    """
    folders = (started, *started.parents)
    for folder in folders:
        if (folder / cassette_dir).is_dir():
            return folder
    return next((folder for folder in folders if any((folder / mark).exists() for mark in _MARKS)), started)


class OptionLayer:
    """Options that lie over other settings, as those of a scope do. ``source`` names them in messages."""

    __slots__ = ("_resolved", "_source", "options")

    def __init__(self, options: Mapping[str, Any], *, source: str) -> None:
        self.options = dict(options)
        self._source = source
        # The settings below that were seen last, and what came of them. Cleared when an option changes.
        self._resolved: tuple[Settings, Settings] | None = None

    def resolve(self, below: Settings) -> Settings:
        """Return the settings ``below`` with these options on top."""
        known = self._resolved
        if known is None or known[0] is not below:
            known = self._resolved = below, below.with_options(self.options, source=self._source)
        return known[1]

    def override(self, options: Mapping[str, Any]) -> None:
        """Replace some options, or add them."""
        self.options.update(options)
        self._resolved = None


class SettingsLayers:
    """The sources of options of one run: defaults and ini file below the environment, the command line above it."""

    __slots__ = (
        "_copies",
        "_resolved",
        "_transports",
        "command_line",
        "defaults",
        "finds_drift",
        "ini",
        "root",
        "under_pytest",
    )

    def __init__(
        self,
        root: Path,
        *,
        defaults: Mapping[str, Any] | None = None,
        ini: Mapping[str, str] | None = None,
        command_line: Mapping[str, Any] | None = None,
        under_pytest: bool = False,
        finds_drift: bool = False,
        copies: Callable[[], Path | None] | None = None,
    ) -> None:
        """``root`` is the folder to which relative folders are relative. The mappings go from option names to values.

        ``under_pytest`` says that the plugin runs this process: then no request goes to a provider unless the user
        asks for it. ``finds_drift`` says that a replay answers every request and notes those without a recording.
        ``copies`` returns the folder in which loading a cassette may leave a compiled copy, or None for no copies.
        """
        self.root = root
        self.defaults = defaults or {}
        self.ini = ini or {}
        self.command_line = command_line or {}
        self.under_pytest = under_pytest
        self.finds_drift = finds_drift
        self._copies = copies
        # Two caches, keyed by values of environment variables, each cleared when it is full: tests set variables and
        # put them back, so few keys return often. No lock: threads that compute the same key store equal values.
        self._resolved: dict[tuple[Any, ...], Settings] = {}
        self._transports: dict[tuple[Any, Any], str] = {}

    def resolve(self) -> Settings:
        """Return the settings in force now, parsed only if the environment has changed. Raises ``ConfigError``."""
        variables = _option_variables()
        known = self._resolved.get(variables)
        if known is not None:
            return known
        values: dict[str, Any] = {}
        for options, source in self._sources():
            values.update((name, parse_option(name, value, source=source)) for name, value in options.items())
        settings = Settings(root=self.root, **values)
        if len(self._resolved) >= _MOST_RESOLVED:
            self._resolved.clear()
        self._resolved[variables] = settings
        return settings

    def _sources(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Yield the sources of options, each with its name for messages. A later source overrides earlier ones."""
        yield self.defaults, "defaults"
        yield self.ini, "ini file"
        if _records_by_environment():
            yield {"transport": "record"}, "environment variable AQUILA_RECORD"
        for (variable, name), is_set in zip(_OPTION_OF_VARIABLE.items(), _option_variables(), strict=True):
            if is_set and (value := os.environ.get(variable)):  # which takes long for one that is not set
                yield {name: value}, f"environment variable {variable}"
        yield self.command_line, "command line"

    @property
    def transport(self) -> str:
        """The name of the transport in force now: that of ``resolve``, found faster."""
        inner = getattr(os.environ, "_data", None)
        if type(inner) is not dict or os.name != "posix":
            return self.resolve().transport
        variables = inner.get(b"AQUILA_TRANSPORT"), inner.get(b"AQUILA_RECORD")
        known = self._transports.get(variables)
        if known is None:
            if len(self._transports) >= _MOST_RESOLVED:
                self._transports.clear()
            known = self._transports[variables] = self.resolve().transport
        return known

    def gives(self, name: str) -> bool:
        """Whether the command line, the environment or the ini file sets an option, even to its default."""
        variable = OPTIONS[name].env
        if name in self.command_line or name in self.ini or (variable and os.environ.get(variable)):
            return True
        return name == "transport" and _records_by_environment()

    def copies_folder(self) -> Path | None:
        """Return the folder for compiled copies of cassettes, or None if no copies are to be kept."""
        return self._copies() if self._copies is not None else None

    def says_the_same_as(self, other: SettingsLayers) -> bool:
        """Whether other layers have the same sources of options and the same root folder."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__ if name[0] != "_")

    def as_plain_data(self) -> dict[str, Any]:
        """Return what a child process needs to build the same layers with ``from_plain_data``."""
        return {
            "root": str(self.root.absolute()),
            "defaults": dict(self.defaults),
            "ini": dict(self.ini),
            "command_line": dict(self.command_line),
            "under_pytest": self.under_pytest,
            "finds_drift": self.finds_drift,
        }

    @classmethod
    def from_plain_data(cls, data: Mapping[str, Any]) -> SettingsLayers:
        """Build the layers that ``as_plain_data`` described. Raises ``TypeError`` or ``KeyError`` for other data."""
        kinds: dict[str, type] = {"defaults": dict, "ini": dict, "command_line": dict, "root": str}
        kinds |= {"under_pytest": bool, "finds_drift": bool}
        if not all(isinstance(data[name], kind) for name, kind in kinds.items()):
            raise TypeError("not the layers of settings")
        return cls(**{**data, "root": Path(data["root"])})


# How many entries each cache of `SettingsLayers` holds at most.
_MOST_RESOLVED = 16


def _records_by_environment() -> bool:
    """Whether ``AQUILA_RECORD`` asks for a recording, as ``--aquila-record`` does. ``AQUILA_TRANSPORT`` overrides."""
    return bool(os.environ.get("AQUILA_RECORD")) and not os.environ.get("AQUILA_TRANSPORT")
