"""The options of a call, declared once: name, type, and where it applies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from aquila.config import suggest_name
from aquila.errors import ConfigError, UnknownOption
from aquila.sinks import Sink, sink_of
from aquila.tools import Toolbox, make_toolbox

TOOL_CHOICES = ("auto", "required", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The time limits of a call, in seconds; None is no limit.

    - ``connect``: to make the connection. ``RequestTimeout`` afterwards.
    - ``read``: from sending the request until the answer begins. ``RequestTimeout`` afterwards. Where it is not given,
      ``idle`` holds for this time too.
    - ``idle``: the longest silence in an answer. ``StreamTimeout`` afterwards.
    - ``total``: the whole call, with all its requests, retries and tools. ``RequestTimeout`` afterwards.
    """

    connect: float | None = 10.0
    read: float | None = None
    idle: float | None = 30.0
    total: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                _seconds(value, f"timeout {each.name}")


def _seconds(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigError(f"{what} must be a number of seconds above 0, not {value!r}")
    return float(value)


Check = Callable[[Any], Any]


def _is(*types: type, what: str) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(f"must be {what}, not {value!r}" if _short(value) else f"must be {what}")
        return value

    return check


def _short(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) and len(str(value)) < 60


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError(f"must be text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise TypeError(f"must be a number from {low:g} to {high:g}, not {value!r}")
        return value

    return check


def _count(least: int) -> Check:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise TypeError(f"must be a whole number of at least {least}, not {value!r}")
        return value

    return check


def _words(value: Any) -> Any:
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, (list, tuple)) or not rows or not all(isinstance(row, str) and row for row in rows):
        raise TypeError(f"must be text or a list of texts, not {value!r}")
    return value if isinstance(value, str) else list(rows)


def _choice(*choices: str) -> Check:
    def check(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(map(repr, choices))}, not {value!r}")
        return value

    return check


def _mapping(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"must be a mapping with text as keys, not {type(value).__name__}")
    return dict(value)  # a copy: the caller may change theirs while the call runs


def _body(value: Any) -> Any:
    value = _mapping(value)
    if "stream" in value:
        raise ValueError("cannot set 'stream': every call is streamed underneath")
    return value


def _tool_choice(value: Any) -> Any:
    if not isinstance(value, (str, Mapping)):
        raise TypeError(f"must be 'auto', 'required', 'none', a tool's name or a dict, not {type(value).__name__}")
    return value


def _timeout(value: Any) -> Any:
    return value if isinstance(value, Timeouts) else Timeouts(idle=_seconds(value, "timeout"))


def _any(value: Any) -> Any:
    return value


def _reasoning(value: Any) -> Any:
    if isinstance(value, str):
        return {"effort": _text(value)}
    value = _mapping(value)
    unknown = value.keys() - {"effort", "summary"}
    if unknown:
        raise ValueError(f"has 'effort' and 'summary', and no {min(unknown)!r}")
    return value


def _response_format(value: Any) -> Any:
    if isinstance(value, Mapping):
        if not isinstance(value.get("type"), str):
            raise ValueError("needs a 'type', such as {'type': 'json_object'}, or give a pydantic model")
        return dict(value)
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value
    raise TypeError(f"must be a pydantic model or a dict, not {value!r}")


def _option(check: Check, default: Any = None, *, only: str | None = None) -> Any:
    """``only``: the one endpoint whose API has the option."""
    return field(default=default, metadata={"check": check, "only": only})


_integer = _is(int, what="a whole number")
_flag = _is(bool, what="True or False")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option of ``ask``, ``stream``, ``aask`` and ``astream``. None means that the provider's default holds."""

    model: str | None = _option(_text)
    instructions: str | None = _option(_text)
    endpoint: str = _option(_choice("chat", "responses"), "chat")
    temperature: float | None = _option(_number(0, 2))
    top_p: float | None = _option(_number(0, 1))
    seed: int | None = _option(_integer, only="chat")
    stop: str | Sequence[str] | None = _option(_words, only="chat")
    max_output_tokens: int | None = _option(_count(1))
    max_completion_tokens: int | None = _option(_count(1))
    metadata: Mapping[str, Any] = field(default_factory=dict, metadata={"check": _mapping})
    store: bool | None = _option(_flag)
    reasoning: Mapping[str, Any] | None = _option(_reasoning)
    response_format: Any = _option(_response_format)
    previous_response_id: str | None = _option(_text, only="responses")
    background: bool = _option(_flag, False, only="responses")
    poll_interval: float = _option(_number(0, 3600), 1.0, only="responses")
    cassette: str | None = _option(_text)
    transport: Any = _option(_any)
    tools: Toolbox = field(default_factory=Toolbox, metadata={"check": make_toolbox})
    tool_choice: str | Mapping[str, Any] | None = _option(_tool_choice)
    parallel_tool_calls: bool | None = _option(_flag)
    concurrent_tools: bool = _option(_flag, False)
    tool_context: Any = _option(_any)
    tool_errors: str = _option(_choice("reply", "raise"), "reply")
    max_tool_iterations: int = _option(_count(1), 24)
    max_tool_failures: int = _option(_count(1), 3)
    base_url: str | None = _option(_text)
    api_key: str | None = field(default=None, repr=False, metadata={"check": _text})
    timeout: Timeouts | None = _option(_timeout)
    max_retries: int = _option(_count(0), 2)
    provider_options: Mapping[str, Any] = field(default_factory=dict, metadata={"check": _body})
    sink: Sink | None = _option(sink_of)

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> Options:
        """Return checked options. Raises ``UnknownOption`` or ``ConfigError`` that names the option."""
        checked = {}
        for name, value in options.items():
            if name not in CHECKS:
                raise UnknownOption(f"unknown option {name!r}{suggest_name(name, CHECKS)}")
            if value is None:
                continue
            try:
                checked[name] = CHECKS[name](value)
            except ConfigError:
                raise
            except (TypeError, ValueError) as error:
                raise ConfigError(f"option {name!r} {error}") from None
        built = cls(**checked)
        built.token_limit()
        built._check_tool_choice()
        built._check_endpoint(checked)
        return built

    def _check_endpoint(self, given: Mapping[str, Any]) -> None:
        for name in given:
            only = ONLY.get(name)
            if only is not None and only != self.endpoint:
                way = f"; a server that takes it all the same gets it with provider_options={{{name!r}: ...}}"
                raise ConfigError(
                    f"option {name!r} belongs to endpoint={only!r}, and the {self.endpoint} API has none"
                    + (way if only == "chat" else "")
                )

    def _check_tool_choice(self) -> None:
        choice, known = self.tool_choice, self.tools.choosable_names()
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(self, name) is not None and not self.tools and "tools" not in self.provider_options:
                raise ConfigError(f"option {name!r} needs tools=")
        if isinstance(choice, str) and choice not in TOOL_CHOICES and choice not in known:
            raise ConfigError(
                f"option 'tool_choice': no tool {choice!r}{suggest_name(choice, (*TOOL_CHOICES, *known))}"
            )

    def token_limit(self) -> int | None:
        """The limit of the answer's tokens, under whichever of its two names it was given."""
        limits = {self.max_output_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise ConfigError(
                "max_output_tokens and max_completion_tokens are two names of one limit; give one of them, "
                f"not {self.max_output_tokens} and {self.max_completion_tokens}"
            )
        return limits.pop() if limits else None


ONLY: Mapping[str, str | None] = {each.name: each.metadata.get("only") for each in fields(Options)}
CHECKS: Mapping[str, Check] = {each.name: each.metadata["check"] for each in fields(Options)}
