"""Each setting, declared once: its default, its help, how its text is read, and where it can come from.

``aquila.config`` makes of it the ini keys, the environment variables, and the values that are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


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
    "match_on": Option(
        ("method", "origin", "path", "query", "body"), "parts of a request that identify it", parse=_parse_words
    ),
    "ignore": Option((), "JSON paths of the body that do not identify a request", parse=_parse_lines),
    "ignore_query": Option((), "query parameters that do not identify a request, such as X-Amz-*", parse=_parse_words),
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
