"""One frozen ``Settings``: environment, ini file, command line, markers and arguments all end here.

Each option is declared once, in ``Settings``; its environment variable, ini key and parser derive from that
declaration. A value comes from the first of: argument or marker, command line, environment, ini file, default.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from aquila.errors import ConfigError, UnknownOption

DUMMY_KEY = "aquila-no-key"
"""The API key that clients are given where none is needed. Not a secret."""


def _text(value: str) -> str:
    return value


def _words(value: str) -> tuple[str, ...]:
    return tuple(word for part in value.split("\n") for word in part.replace(",", " ").split())


def _lines(value: str) -> tuple[str, ...]:
    # JSON paths may hold spaces and commas inside brackets, so only lines separate them.
    return tuple(line.strip() for line in value.splitlines() if line.strip())


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError("must be a number of seconds above 0")
    return seconds


def _timing(value: str) -> float:
    named = {"instant": 0.0, "recorded": 1.0}
    factor = named[value] if value in named else float(value)
    if not 0 <= factor < float("inf"):
        raise ValueError("must be 'instant', 'recorded' or a factor of 0 or more")
    return factor


def _days(value: str) -> float:
    units = {"d": 1.0, "w": 7.0, "h": 1 / 24}
    number, unit = (value[:-1], value[-1]) if value[-1:] in units else (value, "d")
    days = float(number) * units[unit]
    if days <= 0:
        raise ValueError("must be an age such as 90d, 12w or 36h")
    return days


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def _option(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] = _text,
    env: str | None = None,
    ini: bool = True,
    secret: bool = False,
) -> Any:
    metadata = {"help": help, "parse": parse, "env": env, "ini": ini}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured, resolved to final values."""

    transport: str = _option("live", "live, replay, record, local or module:factory", env="AQUILA_TRANSPORT")
    upstream: str = _option("live", "what `record` records from", env="AQUILA_UPSTREAM")
    record: str = _option(
        "missing", "what `record` does with recordings that match: keep (missing) or record again (all)",
        parse=_one_of("missing", "all"), env="AQUILA_RECORD", ini=False,
    )  # fmt: skip
    cassette_dir: str = _option(
        "cassettes", "folder of the cassettes, relative to the project", env="AQUILA_CASSETTE_DIR"
    )
    base_url: str | None = _option(None, "base URL of the provider", env="OPENAI_BASE_URL", ini=False)
    api_key: str | None = _option(None, "API key of the provider", env="OPENAI_API_KEY", ini=False, secret=True)
    model: str = _option("gpt-4.1-mini", "model of calls that name none", env="AQUILA_MODEL")
    timeout: float = _option(30.0, "idle timeout of a call, in seconds", parse=_seconds, env="AQUILA_TIMEOUT")
    replay_timing: float = _option(
        0.0, "pace of a replay: instant, recorded, or a factor of the recorded times",
        parse=_timing, env="AQUILA_REPLAY_TIMING",
    )  # fmt: skip
    match_on: tuple[str, ...] = _option(
        ("method", "path", "query", "body"), "parts of a request that identify it", parse=_words
    )
    ignore: tuple[str, ...] = _option((), "JSON paths of the body that do not identify a request", parse=_lines)
    repeat: str = _option(
        "error", "what follows the last recording of a request: error, or the last one again (last)",
        parse=_one_of("error", "last"),
    )  # fmt: skip
    record_errors: str = _option(
        "last", "answers of 408, 409, 429 and 5xx to keep: last (only if nothing followed) or all",
        parse=_one_of("last", "all"),
    )  # fmt: skip
    unplayed: str = _option(
        "ignore", "recordings of a test's own cassette that it did not play: ignore, warn or fail",
        parse=_one_of("ignore", "warn", "fail"),
    )  # fmt: skip
    max_age: float | None = _option(None, "age after which a recording is reported, such as 90d", parse=_days)
    guard: str = _option(
        "providers", "what is refused without a cassette under pytest: providers, all or off",
        parse=_one_of("providers", "all", "off"), env="AQUILA_GUARD",
    )  # fmt: skip
    local_model: str | None = _option(None, "GGUF file of the embedded model", env="AQUILA_LOCAL_MODEL", ini=False)

    def with_options(self, options: Mapping[str, Any], *, source: str) -> Settings:
        """Return a copy with some options replaced.

        ``options`` maps field names to values or to their text; ``source`` names where they come from, for messages.
        Raises ``UnknownOption`` or ``ConfigError``.
        """
        if not options:
            return self
        return replace(self, **{name: parse_option(name, value, source=source) for name, value in options.items()})

    def cassette_root(self) -> Path:
        """The absolute folder of the cassettes."""
        return _layers.root.joinpath(self.cassette_dir)


OPTIONS: Mapping[str, Any] = {option.name: option for option in fields(Settings)}
_ENVIRONMENT = {option.metadata["env"]: name for name, option in OPTIONS.items() if option.metadata["env"]}


def ini_options() -> Iterator[tuple[str, str]]:
    """The ini keys (``aquila_<option>``) with their help, for the pytest plugin."""
    for name, option in OPTIONS.items():
        if option.metadata["ini"]:
            yield f"aquila_{name}", option.metadata["help"]


def parse_option(name: str, value: Any, *, source: str) -> Any:
    """Return the final value of one option given as text or as a value. ``source`` names its origin in messages."""
    option = OPTIONS.get(name)
    if option is None:
        raise UnknownOption(f"{source}: unknown option {name!r}{suggestion(name, OPTIONS)}")
    if value is None or value == option.default:
        return option.default
    try:
        return option.metadata["parse"](_as_text(value, option.metadata["parse"]))
    except (TypeError, ValueError) as error:
        shown = "" if not option.repr else f" {value!r}"
        raise ConfigError(f"{source}: {name}{shown}: {error} ({option.metadata['help']})") from error


def _as_text(value: Any, parse: Callable[[str], Any]) -> str:
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, (str, int, float, os.PathLike)):
        raise TypeError(f"must be text or a number, not {type(value).__name__}")
    return str(value)


def suggestion(name: str, known: Any) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """What lies around the environment: below it the ini file and defaults of the run, above it the command line."""

    root: Path = field(default_factory=Path.cwd)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    ini: Mapping[str, str] = field(default_factory=dict)
    command_line: Mapping[str, Any] = field(default_factory=dict)
    under_pytest: bool = False


_layers = _Layers()
_cache: tuple[_Layers, tuple[str | None, ...], Settings] | None = None


@contextlib.contextmanager
def layers(
    *,
    root: Path,
    defaults: Mapping[str, Any] | None = None,
    ini: Mapping[str, str] | None = None,
    command_line: Mapping[str, Any] | None = None,
    under_pytest: bool = False,
) -> Iterator[None]:
    """Put the settings of a run around the environment until the block ends.

    ``root`` is the folder that relative folders start from. The mappings go from option names to values.
    """
    global _layers
    before = _layers
    _layers = _Layers(
        root=root, defaults=defaults or {}, ini=ini or {}, command_line=command_line or {}, under_pytest=under_pytest
    )
    try:
        yield
    finally:
        _layers = before


def under_pytest() -> bool:
    """Whether this process runs pytest with the plugin: then nothing goes live unless asked for."""
    return _layers.under_pytest


def is_given(name: str) -> bool:
    """Whether the command line, the environment or the ini file sets an option, be it to its default."""
    variable = OPTIONS[name].metadata["env"]
    return name in _layers.command_line or name in _layers.ini or bool(variable and os.environ.get(variable))


def current() -> Settings:
    """The settings in force now. The environment is read at each call; parsing happens only when it changed."""
    global _cache
    around = _layers
    environment = tuple(map(os.environ.get, _ENVIRONMENT))
    if _cache is not None and _cache[0] is around and _cache[1] == environment:
        return _cache[2]
    settings = Settings().with_options(around.defaults, source="defaults")
    settings = settings.with_options(around.ini, source="ini file")
    for (variable, name), value in zip(_ENVIRONMENT.items(), environment, strict=True):
        if value:
            settings = settings.with_options({name: value}, source=f"environment variable {variable}")
    settings = settings.with_options(around.command_line, source="command line")
    _cache = (around, environment, settings)
    return settings
