"""One frozen ``Settings``: environment, ini file, command line, markers and arguments all end here.

Each option is declared once, in ``Settings``; its environment variable, ini key and parser derive from that
declaration. A value comes from the first of: argument or marker, command line, environment, ini file, default.
``SettingsLayers`` holds what one run has of these; ``aquila.recording.runtime`` says which run is current.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import difflib

    from aquila import errors
else:
    lazy_modules(globals(), difflib="difflib", errors="aquila.errors")

# Exceptions are imported where they are raised: most test runs load this module and raise none.

DUMMY_KEY = "aquila-no-key"
"""The API key that clients are given where none is needed. Not a secret."""


def _parse_text(value: str) -> str:
    return value


def _parse_words(value: str) -> tuple[str, ...]:
    return tuple(word for part in value.split("\n") for word in part.replace(",", " ").split())


def _parse_lines(value: str) -> tuple[str, ...]:
    # JSON paths may hold spaces and commas inside brackets, so only lines separate them.
    return tuple(line.strip() for line in value.splitlines() if line.strip())


def _parse_seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError("must be a number of seconds above 0")
    return seconds


def _parse_timing(value: str) -> float:
    named = {"instant": 0.0, "recorded": 1.0}
    factor = named[value] if value in named else float(value)
    if not 0 <= factor < float("inf"):
        raise ValueError("must be 'instant', 'recorded' or a factor of 0 or more")
    return factor


def _parse_days(value: str) -> float:
    units = {"d": 1.0, "w": 7.0, "h": 1 / 24}
    number, unit = (value[:-1], value[-1]) if value[-1:] in units else (value, "d")
    days = float(number) * units[unit]
    if days <= 0:
        raise ValueError("must be an age such as 90d, 12w or 36h")
    return days


def _choice_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


class Option:
    """One setting: its default, what it means, how its text is read, and where it can come from."""

    __slots__ = ("default", "env", "help", "ini", "parse", "secret")

    def __init__(
        self,
        default: Any,
        help: str,
        *,
        parse: Callable[[str], Any] = _parse_text,
        env: str | None = None,
        ini: bool = True,
        secret: bool = False,
    ) -> None:
        self.default = default
        self.help = help
        self.parse = parse
        self.env = env
        self.ini = ini
        self.secret = secret


OPTIONS: Mapping[str, Option] = {
    "transport": Option("live", "live, replay, record, local or module:factory", env="AQUILA_TRANSPORT"),
    "upstream": Option("live", "what `record` records from", env="AQUILA_UPSTREAM"),
    "record": Option(
        "missing",
        "what `record` does with recordings that match: keep (missing) or record again (all)",
        parse=_choice_of("missing", "all"),
        env="AQUILA_RECORD",
        ini=False,
    ),
    "cassette_dir": Option("cassettes", "folder of the cassettes, relative to the project", env="AQUILA_CASSETTE_DIR"),
    "base_url": Option(None, "base URL of the provider", env="OPENAI_BASE_URL", ini=False),
    "api_key": Option(None, "API key of the provider", env="OPENAI_API_KEY", ini=False, secret=True),
    "model": Option("gpt-4.1-mini", "model of calls that name none", env="AQUILA_MODEL"),
    "timeout": Option(30.0, "idle timeout of a call, in seconds", parse=_parse_seconds, env="AQUILA_TIMEOUT"),
    "replay_timing": Option(
        0.0,
        "pace of a replay: instant, recorded, or a factor of the recorded times",
        parse=_parse_timing,
        env="AQUILA_REPLAY_TIMING",
    ),
    "silence": Option(
        5.0,
        "seconds for which a replay stays silent beyond the recorded wait, where the program stopped waiting",
        parse=_parse_seconds,
    ),
    "match_on": Option(("method", "path", "query", "body"), "parts of a request that identify it", parse=_parse_words),
    "ignore": Option((), "JSON paths of the body that do not identify a request", parse=_parse_lines),
    "keep_headers": Option((), "header fields that cassettes keep besides the usual ones", parse=_parse_words),
    "repeat": Option(
        "error",
        "what follows the last recording of a request: error, or the last one again (last)",
        parse=_choice_of("error", "last"),
    ),
    "record_errors": Option(
        "last",
        "answers of 408, 409, 429 and 5xx to keep: last (only if nothing followed) or all",
        parse=_choice_of("last", "all"),
    ),
    "durable": Option(
        "off",
        "whether each recorded answer survives a loss of power before the program goes on: off or fsync",
        parse=_choice_of("off", "fsync"),
    ),
    "unplayed": Option(
        "ignore",
        "recordings of a test's own cassette that it did not play: ignore, warn or fail",
        parse=_choice_of("ignore", "warn", "fail"),
    ),
    "max_age": Option(None, "age after which a recording is reported, such as 90d", parse=_parse_days),
    "guard": Option(
        "providers",
        "what is refused without a cassette under pytest: providers, all or off",
        parse=_choice_of("providers", "all", "off"),
        env="AQUILA_GUARD",
    ),
    "ignore_hosts": Option(
        (), "hosts that are never recorded nor refused, such as *.internal or localhost:8080", parse=_parse_words
    ),
    "loopback": Option(
        "models",
        "requests to this machine that go through the cassette: those of model endpoints (models), all, or none",
        parse=_choice_of("models", "all", "none"),
    ),
    "providers": Option((), "further hosts that count as model providers", parse=_parse_words),
    "side_requests": Option(
        (),
        "requests that no test asks for, a line each (POST api.example.com/v1/x), which fail as without a network; - "
        "before a row of the built-in table takes it away",
        parse=_parse_lines,
    ),
    "dummy_keys": Option(
        (),
        "further environment variables that hold a dummy while nothing needs a key; NAME=value gives one of its own, "
        "-NAME leaves one out",
        parse=_parse_words,
    ),
    "log_content": Option(
        "off",
        "whether the logger `aquila` shows prompts and answers, at level DEBUG: off or on",
        parse=_choice_of("off", "on"),
        env="AQUILA_LOG_CONTENT",
    ),
    "local_model": Option(None, "GGUF file of the embedded model", env="AQUILA_LOCAL_MODEL", ini=False),
}
"""Every setting, by name. Ini keys, environment variables and markers derive from it."""

_OPTION_OF_VARIABLE = {option.env: name for name, option in OPTIONS.items() if option.env}


def _raw_environment() -> Mapping[Any, Any]:
    """The environment as ``os.environ`` keeps it, to be compared only.

    ``os.environ`` encodes each name and decodes each value, which for every request costs more than all else here.
    """
    inner = getattr(os.environ, "_data", None)
    return inner if isinstance(inner, dict) else os.environ


def _option_variables() -> tuple[Any, ...]:
    """The variables of ``_OPTION_OF_VARIABLE`` as they are now, in a form that can only be compared."""
    variables = _raw_environment()
    return tuple(map(variables.get, _raw_names(variables, tuple(_OPTION_OF_VARIABLE))))


def _raw_names(variables: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str | bytes, ...]:
    """Names of variables as the keys of ``variables``: bytes on POSIX, text in capitals on Windows."""
    return _encoded_names(names) if isinstance(next(iter(variables), ""), bytes) else tuple(map(str.upper, names))


@functools.cache
def _encoded_names(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(os.fsencode, names))


def find_missing_variables(names: Iterable[str]) -> list[str]:
    """Return those of some variables that are not set."""
    variables, asked = _raw_environment(), tuple(names)
    return [name for name, raw in zip(asked, _raw_names(variables, asked), strict=True) if raw not in variables]


def copy_environment_without(names: tuple[str, ...]) -> Mapping[Any, Any]:
    """A copy of the environment without some variables, to tell whether it has changed. Nothing can be read from it."""
    copy = dict(_raw_environment())
    for name in _raw_names(copy, names):
        copy.pop(name, None)
    return copy


class Settings:
    """Everything that can be configured, resolved to final values. Immutable.

    Written out rather than generated: it is built in every test run, and generating a class costs more than all else
    that the plugin does when it loads.
    """

    __slots__ = (*OPTIONS, "root")

    root: Path
    """The folder that relative folders start from. Not an option: the run decides it."""
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
    keep_headers: tuple[str, ...]
    repeat: str
    record_errors: str
    durable: str
    unplayed: str
    max_age: float | None
    guard: str
    ignore_hosts: tuple[str, ...]
    loopback: str
    providers: tuple[str, ...]
    side_requests: tuple[str, ...]
    dummy_keys: tuple[str, ...]
    log_content: str
    local_model: str | None

    def __init__(self, *, root: Path = Path(), **values: Any) -> None:
        object.__setattr__(self, "root", root)
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, values.pop(name, option.default))
        if values:
            name = next(iter(values))
            raise errors.UnknownOption(f"unknown option {name!r}{suggest_name(name, OPTIONS)}")

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
        return tuple(getattr(self, name) for name in self.__slots__)

    def with_options(self, options: Mapping[str, Any], *, source: str) -> Settings:
        """Return a copy with some options replaced.

        ``options`` maps field names to values or to their text; ``source`` names where they come from, for messages.
        Raises ``UnknownOption`` or ``ConfigError``.
        """
        if not options:
            return self
        values = {name: getattr(self, name) for name in OPTIONS}
        values.update((name, parse_option(name, value, source=source)) for name, value in options.items())
        return Settings(root=self.root, **values)

    def cassette_root(self) -> Path:
        """The absolute folder of the cassettes. Raises ``ConfigError`` if the working directory was deleted."""
        try:
            current = "" if self.root.is_absolute() or os.path.isabs(self.cassette_dir) else os.getcwd()
        except FileNotFoundError as error:
            raise errors.ConfigError(
                f"the folder of the cassettes, {self.cassette_dir!r}, is relative, and the working directory was "
                "deleted. Run in a folder that exists, or give an absolute one in AQUILA_CASSETTE_DIR"
            ) from error
        return _absolute_folder(self.root, self.cassette_dir, current)


@functools.lru_cache(maxsize=64)
def _absolute_folder(root: Path, name: str, current: str) -> Path:
    return Path(current, root, name)


def ini_options() -> Iterator[tuple[str, str]]:
    """The ini keys (``aquila_<option>``) with their help, for the pytest plugin."""
    for name, option in OPTIONS.items():
        if option.ini:
            yield f"aquila_{name}", option.help


def parse_option(name: str, value: Any, *, source: str) -> Any:
    """Return the final value of one option given as text or as a value. ``source`` names its origin in messages."""
    option = OPTIONS.get(name)
    if option is None:
        raise errors.UnknownOption(f"{source}: unknown option {name!r}{suggest_name(name, OPTIONS)}")
    if value is None or value == option.default:
        return option.default
    try:
        return option.parse(_as_text(value, option.parse))
    except (TypeError, ValueError) as error:
        shown = "" if option.secret else f" {value!r}"
        raise errors.ConfigError(f"{source}: {name}{shown}: {error} ({option.help})") from error


def _as_text(value: Any, parse: Callable[[str], Any]) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, (str, int, float, os.PathLike)):
        raise TypeError(f"must be text or a number, not {type(value).__name__}")
    return str(value)


def suggest_name(name: str, known: Any) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


class SettingsLayers:
    """What a run puts around the environment: below it the ini file and its defaults, above it the command line."""

    __slots__ = ("_copies", "_resolved", "command_line", "defaults", "ini", "root", "under_pytest")

    def __init__(
        self,
        root: Path,
        *,
        defaults: Mapping[str, Any] | None = None,
        ini: Mapping[str, str] | None = None,
        command_line: Mapping[str, Any] | None = None,
        under_pytest: bool = False,
        copies: Callable[[], Path | None] | None = None,
    ) -> None:
        """``root`` is the folder that relative folders start from. The mappings go from option names to values.

        ``under_pytest`` says that the plugin runs this process: then nothing goes live unless asked for. ``copies``
        returns the folder where loading a cassette may leave a compiled copy, or None for nowhere.
        """
        self.root = root
        self.defaults = defaults or {}
        self.ini = ini or {}
        self.command_line = command_line or {}
        self.under_pytest = under_pytest
        self._copies = copies
        # By the variables of the environment. Cleared when it is full: each test changes some, and puts them back.
        self._resolved: dict[tuple[Any, ...], Settings] = {}

    def resolve(self) -> Settings:
        """Return the settings in force now. The environment is read at each call, and parsed only when it changed."""
        variables = _option_variables()
        known = self._resolved.get(variables)
        if known is not None:
            return known
        settings = Settings(root=self.root).with_options(self.defaults, source="defaults")
        settings = settings.with_options(self.ini, source="ini file")
        if _records_by_environment():
            settings = settings.with_options({"transport": "record"}, source="environment variable AQUILA_RECORD")
        for variable, name in _OPTION_OF_VARIABLE.items():
            value = os.environ.get(variable)
            if value:
                settings = settings.with_options({name: value}, source=f"environment variable {variable}")
        settings = settings.with_options(self.command_line, source="command line")
        if len(self._resolved) >= _MOST_RESOLVED:
            self._resolved.clear()
        self._resolved[variables] = settings
        return settings

    def gives(self, name: str) -> bool:
        """Whether the command line, the environment or the ini file sets an option, be it to its default."""
        variable = OPTIONS[name].env
        if name in self.command_line or name in self.ini or (variable and os.environ.get(variable)):
            return True
        return name == "transport" and _records_by_environment()

    def copies_folder(self) -> Path | None:
        """The folder for compiled copies of cassettes, or None where there is none to use."""
        return self._copies() if self._copies is not None else None

    def as_plain_data(self) -> dict[str, Any]:
        """Return what a child process needs to build the same layers with ``from_plain_data``."""
        return {
            "root": str(self.root.absolute()),
            "defaults": dict(self.defaults),
            "ini": dict(self.ini),
            "command_line": dict(self.command_line),
            "under_pytest": self.under_pytest,
        }

    @classmethod
    def from_plain_data(cls, data: Mapping[str, Any]) -> SettingsLayers:
        """Build the layers that ``as_plain_data`` described. Raises ``TypeError`` or ``KeyError`` for other data."""
        return cls(**{**data, "root": Path(data["root"])})


_MOST_RESOLVED = 16


def _records_by_environment() -> bool:
    """Whether ``AQUILA_RECORD`` asks for a recording, as ``--aquila-record`` does. ``AQUILA_TRANSPORT`` overrides."""
    return bool(os.environ.get("AQUILA_RECORD")) and not os.environ.get("AQUILA_TRANSPORT")
