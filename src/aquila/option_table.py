"""Each setting, declared once, with its default, its help, its parser and its sources.

What ``pytest --help`` says of a command line option is in ``pytest_aquila.options``. ``aquila.config`` derives from
this table the ini keys, the environment variables and the values in force.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias


def _parse_text(value: str) -> str:
    return value


def _parse_words(value: str) -> tuple[str, ...]:
    return tuple(word for part in value.split("\n") for word in part.replace(",", " ").split())


def _parse_lines(value: str) -> tuple[str, ...]:
    # JSON paths may contain spaces and commas inside brackets, so only line breaks separate them.
    return tuple(line.strip() for line in value.splitlines() if line.strip())


def _parse_faults(value: str) -> str:
    return ", ".join(_parse_lines(value))


def _parse_normalize(value: str) -> tuple[str, ...]:
    # A pattern (`/…/`) may contain spaces and commas, so a line that begins with a slash is one pattern.
    lines = [line.strip() for line in value.splitlines()]
    return tuple(entry for line in lines for entry in ((line,) if line[:1] == "/" else _parse_words(line)))


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


def _parse_ports(value: str) -> tuple[int, ...]:
    ports = tuple(dict.fromkeys(map(int, _parse_words(value))))
    if not all(0 < port < 65536 for port in ports):
        raise ValueError("must be ports of this machine, numbers from 1 to 65535")
    return ports


Budget: TypeAlias = tuple[int | None, int | None]
"""The greatest numbers of requests and of tokens; None for no limit."""

_AMOUNT = r"\s*(\d+)\s*([kM]?)\s*(requests?|tokens?)\s*"


def read_budget(value: str) -> Budget:
    """Return the numbers in the text of a budget, such as ``200 requests, 50k tokens``.

    Raises ``ValueError`` for any other text, and for a budget that names requests or tokens twice.
    """
    amounts: dict[str, int] = {}
    for part in value.replace("\n", ",").split(","):
        match = re.fullmatch(_AMOUNT, part)
        kind = match[3].rstrip("s") if match else ""
        if match is None or kind in amounts:
            raise ValueError("must be numbers of requests, of tokens, or of both: 200 requests, 50k tokens")
        amounts[kind] = int(match[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[match[2]]
    return amounts.get("request"), amounts.get("token")


def _parse_budget(value: str) -> str:
    read_budget(value)
    return value.replace("\n", ", ")


def _choice_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


class Option:
    """One setting.

    ``default`` is its value if nothing sets it, ``help`` its explanation in one line, ``parse`` a function from
    text to the value that raises ``ValueError``, ``env`` its environment variable or None. ``ini`` says whether the
    ini file can set it, ``secret`` whether messages must not show its value.
    """

    # Not a dataclass: each test run imports this module, and generating a class takes longer than the whole table.
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
    "transport": Option("live", "live, replay, record, local, script or module:factory", env="AQUILA_TRANSPORT"),
    "upstream": Option("live", "what `record` records from", env="AQUILA_UPSTREAM"),
    "record": Option(
        "missing",
        "what `record` does with recordings that match: keep (missing), record again (all), or beside them (pending)",
        parse=_choice_of("missing", "all", "pending"),
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
    "normalize": Option(
        (),
        "values that placeholders stand for when requests are compared: uuid, date, tmp_path, ..., or /pattern/",
        parse=_parse_normalize,
    ),
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
    "record_budget": Option(
        None,
        "how much a run may record: requests, tokens, or both, such as 200 requests, 50k tokens",
        parse=_parse_budget,
        env="AQUILA_RECORD_BUDGET",
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
    "unused": Option(
        "fail",
        "scripted answers that nobody asked for: fail, warn or ignore",
        parse=_choice_of("fail", "warn", "ignore"),
    ),
    "faults": Option(
        None,
        "faults that answers meet: cut_stream(after=3), or several, joined by commas",
        parse=_parse_faults,
        ini=False,
    ),
    "max_age": Option(
        None,
        "age from which on a recording is old, such as 90d: `record` makes it anew, and a replay reports it",
        parse=_parse_days,
    ),
    "outdated": Option(
        "warn", "recordings that a test plays and that are old: warn or fail", parse=_choice_of("warn", "fail")
    ),
    "prices": Option(None, "the TOML table of what models cost, for reports and budgets", env="AQUILA_PRICES"),
    "guard": Option(
        "providers",
        "what is refused without a cassette under pytest: providers, all, off, or all by the kernel (sealed)",
        parse=_choice_of("providers", "all", "off", "sealed"),
        env="AQUILA_GUARD",
    ),
    "sealed_ports": Option((), "ports of this machine that a sealed run may reach, such as 5432", parse=_parse_ports),
    "ignore_hosts": Option(
        (), "hosts that are never recorded nor refused, such as *.internal or localhost:8080", parse=_parse_words
    ),
    "ignore_hueys": Option(
        (), "Hueys, by name, into whose real queues tests may put jobs, such as mail or *", parse=_parse_words
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
        "-NAME leaves one out, -unset all that are not set",
        parse=_parse_words,
    ),
    "log_content": Option(
        "off",
        "whether the logger `aquila` shows prompts and answers, at level DEBUG: off or on",
        parse=_choice_of("off", "on"),
        env="AQUILA_LOG_CONTENT",
    ),
    "script": Option(None, "the script that the transport script answers from", env="AQUILA_SCRIPT", ini=False),
    "local_model": Option(None, "GGUF file of the embedded model", env="AQUILA_LOCAL_MODEL", ini=False),
}
"""Every setting, by name. Ini keys, environment variables and markers derive from it."""
