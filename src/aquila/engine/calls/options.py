"""The options of a call. Each is declared once, as a key of a ``TypedDict``: its type, its check, its name on the wire.

Type checkers read the types at ``ask(prompt, **options: Unpack[AskOptions])``; at run time ``Options.check`` reads the
``CallOption`` beside each type.
"""

# No ``from __future__ import annotations`` here: it would turn each ``CallOption`` in an annotation into text.

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self, TypeAlias, TypedDict

from aquila.engine.calls.timeouts import Timeouts, check_seconds
from aquila.errors import ConfigError, UnknownOption
from aquila.sinks import Sink, sink_of
from aquila.spelling import suggest_name
from aquila.tools import Toolbox, ToolLike, make_toolbox

if TYPE_CHECKING:
    from aquila.transports.routes.routing import Transport

Check: TypeAlias = Callable[[Any], Any]

_MAX_SHOWN = 60
"""Characters of a wrong value that a message shows."""


def accept_any(value: Any) -> Any:
    """Accept any value: it is checked where it is used."""
    return value


def instance_of(expected: type, *, what: str) -> Check:
    """Make a check for values of a type; ``what`` names it in the message."""

    def check_instance(value: Any) -> Any:
        # bool is a subclass of int, but nobody who writes True means the number 1.
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            short = isinstance(value, (str, int, float, bool)) and len(str(value)) < _MAX_SHOWN
            raise TypeError(f"must be {what}, not {value!r}" if short else f"must be {what}")
        return value

    return check_instance


check_flag = instance_of(bool, what="True or False")
check_integer = instance_of(int, what="a whole number")


def check_text(value: Any) -> Any:
    """Accept text that is not blank."""
    if not isinstance(value, str):
        raise TypeError(f"must be text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def number_up_to(high: float) -> Check:
    """Make a check for numbers from 0 to ``high``, both included."""

    def check_number(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
            raise TypeError(f"must be a number from 0 to {high:g}, not {value!r}")
        return value

    return check_number


def count_from(least: int) -> Check:
    """Make a check for whole numbers that are not below ``least``."""

    def check_count(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise TypeError(f"must be a whole number of at least {least}, not {value!r}")
        return value

    return check_count


def one_of(*choices: str) -> Check:
    """Make a check for one of some words."""

    def check_choice(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(map(repr, choices))}, not {value!r}")
        return value

    return check_choice


def check_texts(value: Any) -> Any:
    """Accept a text, or a list or tuple of texts."""
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, (list, tuple)) or not rows or not all(isinstance(row, str) and row for row in rows):
        raise TypeError(f"must be text or a list of texts, not {value!r}")
    return value if isinstance(value, str) else list(rows)


def check_mapping(value: Any) -> Any:
    """Accept a mapping with text as keys; return a copy, because the caller may change theirs while the call runs."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"must be a mapping with text as keys, not {type(value).__name__}")
    return dict(value)


def check_body_fields(value: Any) -> Any:
    """Accept fields that are merged into the request's body."""
    value = check_mapping(value)
    if "stream" in value:
        raise ValueError("cannot set 'stream': Aquila decides whether an answer is streamed")
    return value


def check_tool_choice(value: Any) -> Any:
    """Accept a word, a tool's name or a dict; whether the tool exists is checked with the tools."""
    if not isinstance(value, (str, Mapping)):
        raise TypeError(f"must be 'auto', 'required', 'none', a tool's name or a dict, not {type(value).__name__}")
    return value


def check_timeout(value: Any) -> Any:
    """Return ``Timeouts``; a number is the longest silence in seconds."""
    return value if isinstance(value, Timeouts) else Timeouts(idle=check_seconds(value, "timeout"))


def check_reasoning(value: Any) -> Any:
    """Return a mapping with ``effort`` or ``summary``; text is an effort."""
    if isinstance(value, str):
        return {"effort": check_text(value)}
    value = check_mapping(value)
    unknown = value.keys() - {"effort", "summary"}
    if unknown:
        raise ValueError(f"has 'effort' and 'summary', and no {min(unknown)!r}")
    return value


def check_text_settings(value: Any) -> Any:
    """Accept the settings of the text that the model writes."""
    value = check_mapping(value)
    if "format" in value:
        raise ValueError("has no 'format' here; give response_format=")
    return value


def check_response_format(value: Any) -> Any:
    """Accept a pydantic model, or a dict in the form of the chat API."""
    if isinstance(value, Mapping):
        if not isinstance(value.get("type"), str):
            raise ValueError("needs a 'type', such as {'type': 'json_object'}, or give a pydantic model")
        return dict(value)
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value
    raise TypeError(f"must be a pydantic model or a dict, not {value!r}")


TOOL_CHOICES = ("auto", "required", "none")
TRANSCRIPT_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")


@dataclass(frozen=True, slots=True)
class CallOption:
    """The declaration of an option, besides its type.

    - ``check``: returns the value that the engine works with, or raises ``TypeError`` or ``ValueError`` with a text
      that continues the words "option 'name'", which the caller puts before it.
    - ``default``: the value where the caller gives none; None leaves it to the provider. ``dict`` is a new, empty dict.
    - ``only``: the one endpoint whose API has the option; None if both have it.
    - ``chat``, ``responses``: the field of the request's body that takes the value as it is, if there is one.
    """

    check: Check
    default: Any = None
    only: str | None = None
    chat: str | None = None
    responses: str | None = None


class RequestOptions(TypedDict, total=False):
    """The options of everything that sends a request: where it goes, and how long it may take.

    Examples:
        >>> from typing import Unpack
        >>> def state_of(id: str, **options: Unpack[aquila.RequestOptions]) -> str:
        ...     return aquila.retrieve_response(id, **options).meta["finish_reason"]
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> state_of(started.meta["id"], timeout=10)
        'stop'
    """

    cassette: Annotated[str | None, CallOption(check_text)]
    transport: Annotated["str | Transport | None", CallOption(accept_any)]
    base_url: Annotated[str | None, CallOption(check_text)]
    api_key: Annotated[str | None, CallOption(check_text)]
    timeout: Annotated[float | Timeouts | None, CallOption(check_timeout)]
    max_retries: Annotated[int | None, CallOption(count_from(0), 2)]
    metadata: Annotated[Mapping[str, Any] | None, CallOption(check_mapping, dict)]


class ResultOptions(RequestOptions, total=False):
    """The options of ``research.result``, which waits for an answer that is made in the background.

    Examples:
        >>> from typing import Unpack
        >>> def finish(id: str, **options: Unpack[aquila.ResultOptions]) -> str:
        ...     return aquila.research.result(id, **options).text
        >>> started = aquila.research.create("How high do eagles fly?")
        >>> finish(started.meta["id"], timeout=600, poll_interval=0)
        'Eagles reach 4,000 metres.'
    """

    poll_interval: Annotated[float | None, CallOption(number_up_to(3600), 1.0)]
    sink: Annotated[Sink | None, CallOption(sink_of)]


class TranscribeOptions(RequestOptions, total=False):
    """The options of ``transcribe`` except ``raw``, which decides the type of what it returns.

    Examples:
        >>> from typing import Unpack
        >>> def write_down(sound: bytes, **options: Unpack[aquila.TranscribeOptions]) -> str:
        ...     return aquila.transcribe(sound, **options).text
        >>> write_down(b"RIFF....WAVE", filename="morning.wav")
        'Good morning.'
    """

    model: Annotated[str | None, CallOption(check_text)]
    temperature: Annotated[float | None, CallOption(number_up_to(2))]
    language: Annotated[str | None, CallOption(check_text)]
    prompt: Annotated[str | None, CallOption(check_text)]
    response_format: Annotated[
        Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] | None,
        CallOption(one_of(*TRANSCRIPT_FORMATS)),
    ]
    filename: Annotated[str | None, CallOption(check_text)]
    provider_options: Annotated[Mapping[str, Any] | None, CallOption(check_body_fields, dict)]


class AskOptions(RequestOptions, total=False):
    """The options of ``ask``, ``stream``, ``aask`` and ``astream`` except ``response_format``.

    ``response_format`` is a parameter of its own, because it decides the type of the answer. An option that is None
    counts as not given.

    Examples:
        >>> from typing import Unpack
        >>> def ask_briefly(prompt: str, **options: Unpack[aquila.AskOptions]) -> str:
        ...     return aquila.ask(prompt, instructions="Answer in one sentence.", **options).text
        >>> ask_briefly("How do eagles fly so far?", temperature=0)
        'Eagles circle in rising warm air.'
    """

    model: Annotated[str | None, CallOption(check_text)]
    instructions: Annotated[str | None, CallOption(check_text)]
    endpoint: Annotated[Literal["chat", "responses"] | None, CallOption(one_of("chat", "responses"), "chat")]
    temperature: Annotated[float | None, CallOption(number_up_to(2), chat="temperature", responses="temperature")]
    top_p: Annotated[float | None, CallOption(number_up_to(1), chat="top_p", responses="top_p")]
    seed: Annotated[int | None, CallOption(check_integer, only="chat", chat="seed")]
    stop: Annotated[str | Sequence[str] | None, CallOption(check_texts, only="chat", chat="stop")]
    max_output_tokens: Annotated[
        int | None, CallOption(count_from(1), chat="max_completion_tokens", responses="max_output_tokens")
    ]
    store: Annotated[bool | None, CallOption(check_flag, chat="store", responses="store")]
    user: Annotated[str | None, CallOption(check_text, chat="user", responses="user")]
    service_tier: Annotated[str | None, CallOption(check_text, chat="service_tier", responses="service_tier")]
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        CallOption(one_of("auto", "disabled"), only="responses", responses="truncation"),
    ]
    reasoning: Annotated[str | Mapping[str, Any] | None, CallOption(check_reasoning, responses="reasoning")]
    text: Annotated[Mapping[str, Any] | None, CallOption(check_text_settings)]
    previous_response_id: Annotated[
        str | None, CallOption(check_text, only="responses", responses="previous_response_id")
    ]
    websocket: Annotated[bool | None, CallOption(check_flag, False, only="responses")]
    background: Annotated[bool | None, CallOption(check_flag, False, only="responses")]
    poll_interval: Annotated[float | None, CallOption(number_up_to(3600), 1.0, only="responses")]
    tools: Annotated[Iterable[ToolLike] | None, CallOption(make_toolbox, Toolbox())]
    tool_choice: Annotated[str | Mapping[str, Any] | None, CallOption(check_tool_choice)]
    parallel_tool_calls: Annotated[
        bool | None, CallOption(check_flag, chat="parallel_tool_calls", responses="parallel_tool_calls")
    ]
    max_tool_calls: Annotated[int | None, CallOption(count_from(1), only="responses", responses="max_tool_calls")]
    concurrent_tools: Annotated[bool | None, CallOption(check_flag, False)]
    tool_context: Annotated[Any, CallOption(accept_any)]
    tool_errors: Annotated[Literal["reply", "raise"] | None, CallOption(one_of("reply", "raise"), "reply")]
    max_tool_iterations: Annotated[int | None, CallOption(count_from(1), 24)]
    max_tool_failures: Annotated[int | None, CallOption(count_from(1), 3)]
    provider_options: Annotated[Mapping[str, Any] | None, CallOption(check_body_fields, dict)]
    sink: Annotated[Sink | None, CallOption(sink_of)]


def declared_options(declaration: type, **more: CallOption) -> Mapping[str, CallOption]:
    """Return the ``CallOption`` of each key of a ``TypedDict``, and ``more``."""
    return {name: hint.__metadata__[0] for name, hint in declaration.__annotations__.items()} | more


ASK_OPTIONS = declared_options(AskOptions, response_format=CallOption(check_response_format))
REQUEST_OPTIONS = declared_options(RequestOptions)
RESULT_OPTIONS = declared_options(ResultOptions)
TRANSCRIBE_OPTIONS = declared_options(TranscribeOptions, raw=CallOption(check_flag, False))

_DEFAULTS = {name: option.default for name, option in {**TRANSCRIBE_OPTIONS, **ASK_OPTIONS}.items()}
# A mapping that is shared between calls could be changed by one of them.
_MAPPING_DEFAULTS = tuple(name for name, default in _DEFAULTS.items() if default is dict)

_OTHER_NAMES = {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens"}
"""Names that APIs have for an option. Users try them, and the error names Aquila's option."""


class Options:
    """The options of one call, checked and with their defaults: an attribute for each. They do not change.

    Attributes whose value differs from what the caller gave are declared here; the rest are those of the
    ``TypedDict``.
    """

    tools: Toolbox
    timeout: Timeouts | None
    reasoning: Mapping[str, Any] | None
    sink: Sink | None
    metadata: Mapping[str, Any]
    provider_options: Mapping[str, Any]

    def __init__(self, checked: Mapping[str, Any]) -> None:
        # Directly into ``__dict__``, because ``__setattr__`` refuses every change.
        self.__dict__.update(_DEFAULTS)
        for name in _MAPPING_DEFAULTS:
            self.__dict__[name] = {}
        self.__dict__.update(checked)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"options do not change; {name!r} cannot be set")

    if TYPE_CHECKING:  # the attributes that only the TypedDict declares

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def check(
        cls, given: Mapping[str, Any], declared: Mapping[str, CallOption] = ASK_OPTIONS, *, operation: str = ""
    ) -> Self:
        """Return checked options.

        ``given``: the caller's options by name. ``declared``: the options that exist. ``operation``: its name in
        messages, empty for a prompt. Raises ``UnknownOption`` or ``ConfigError``, which name the option.
        """
        checked = {}
        for name, value in given.items():
            option = declared.get(name)
            if option is None:
                raise _unknown_option(name, declared, operation)
            if value is None:
                continue
            try:
                checked[name] = option.check(value)
            except ConfigError:
                raise
            except (TypeError, ValueError) as error:
                raise ConfigError(f"option {name!r} {error}") from None
        options = cls(checked)
        if declared is ASK_OPTIONS:
            _check_tool_choice(options)
            _check_endpoint(checked, options.endpoint)
            if options.websocket and options.background:
                raise ConfigError(
                    "option 'background' cannot be combined with websocket=True: such an answer is not streamed there"
                )
        return options

    def with_other(self, name: str, value: Any) -> Self:
        """Return the same options, one of them with another value, which is not checked."""
        return type(self)({**self.__dict__, name: value})

    def __repr__(self) -> str:
        hidden = ("api_key", *(name for name in _MAPPING_DEFAULTS if not self.__dict__[name]))
        shown = {name: value for name, value in vars(self).items() if name not in hidden and value != _DEFAULTS[name]}
        return f"Options({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def _unknown_option(name: str, declared: Mapping[str, CallOption], operation: str) -> UnknownOption:
    other = _OTHER_NAMES.get(name)
    if other in declared:
        return UnknownOption(f"unknown option {name!r}; it is {other!r} here, whatever the endpoint calls it")
    subject = f"{operation} has no option" if operation else "unknown option"
    return UnknownOption(f"{subject} {name!r}{suggest_name(name, declared)}")


def _check_endpoint(given: Iterable[str], endpoint: str) -> None:
    for name in given:
        only = ASK_OPTIONS[name].only
        if only is not None and only != endpoint:
            way = f"; for a server that accepts it, give provider_options={{{name!r}: ...}}"
            raise ConfigError(
                f"option {name!r} belongs to endpoint={only!r}, and the {endpoint} API does not have it"
                + (way if only == "chat" else "")
            )


def _check_tool_choice(options: Options) -> None:
    choice = options.tool_choice
    for name in ("tool_choice", "parallel_tool_calls", "max_tool_calls"):
        if getattr(options, name) is not None and not options.tools and "tools" not in options.provider_options:
            raise ConfigError(f"option {name!r} needs tools=")
    if not isinstance(choice, str) or choice in TOOL_CHOICES:
        return
    known = options.tools.choosable_names()
    if choice not in known:
        raise ConfigError(f"option 'tool_choice': no tool {choice!r}{suggest_name(choice, (*TOOL_CHOICES, *known))}")


def _body_fields_of(endpoint: str) -> Sequence[tuple[str, str]]:
    """Return the options whose values a body takes unchanged, each with the name of its field."""
    return [(name, wire) for name, option in ASK_OPTIONS.items() if (wire := getattr(option, endpoint)) is not None]


CHAT_FIELDS = _body_fields_of("chat")
RESPONSES_FIELDS = _body_fields_of("responses")
