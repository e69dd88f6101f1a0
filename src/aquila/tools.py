"""Tools that a model may call: Python functions with a schema, and the provider's own tools. Checks their arguments.

``@tool`` makes a tool from a typed function, and ``Tool(name, parameters, function)`` makes one from its parts. A plain
function in ``tools=`` becomes a tool too.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from aquila import schemas
from aquila.errors import ConfigError
from aquila.events import ToolCall
from aquila.lazy_imports import lazy_modules
from aquila.schema_check import find_problems
from aquila.signatures import read_signature
from aquila.spelling import suggest_name

if TYPE_CHECKING:
    import pydantic
    from pydantic import BaseModel
else:
    lazy_modules(globals(), "pydantic")

CONTEXT = "tool_context"
"""The name of the parameter that receives the context of the call; the model does not see it."""

# OpenAI's rule for the name of a function.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

BuiltInTool: TypeAlias = Literal[
    "web_search", "web_search_preview", "code_interpreter", "image_generation", "local_shell"
]
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "web_search": {"type": "web_search"},
    "web_search_preview": {"type": "web_search_preview"},
    "code_interpreter": {"type": "code_interpreter", "container": {"type": "auto"}},
    "image_generation": {"type": "image_generation"},
    "local_shell": {"type": "local_shell"},
}
"""The built-in tools of the Responses API for which a name is enough."""

_NEEDS_MORE = {"file_search": "vector_store_ids", "mcp": "server_label", "computer_use_preview": "environment"}
"""The built-in tools that must be given as a dict, each with the field that the provider demands."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may call. Raises ``ConfigError`` for fields of a wrong type or form.

    - ``name``: letters, digits, ``_`` and ``-``, at most 64.
    - ``parameters``: a JSON schema of an object, or a pydantic model.
    - ``function``: called with the arguments by name; it may be a coroutine function. With None the caller answers the
      calls: the run ends with them in ``reply.tool_calls``.
    - ``description``: the text that explains the tool to the model.
    - ``strict``: whether the provider is asked to enforce the schema.

    Examples:
        >>> transfer = aquila.Tool("transfer", {"type": "object", "properties": {"amount": {"type": "integer"}}})
        >>> reply = aquila.ask("Pay 9 euros to the baker", tools=[transfer])    # it has no function: decide yourself
        >>> reply.tool_calls[0].name, reply.tool_calls[0].arguments
        ('transfer', {'amount': 9})
    """

    name: str
    parameters: Mapping[str, Any] | type[BaseModel]
    function: Callable[..., Any] | None = None
    description: str = ""
    strict: bool = False
    wants_context: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(f"a tool's name has letters, digits, _ and -, at most 64 of them; not {self.name!r}")
        is_model = isinstance(self.parameters, type) and hasattr(self.parameters, "model_json_schema")
        if not (is_model or isinstance(self.parameters, Mapping)):
            raise ConfigError(f"tool {self.name!r}: parameters are a JSON schema or a pydantic model")
        if isinstance(self.parameters, Mapping) and self.parameters.get("type", "object") != "object":
            raise ConfigError(f"tool {self.name!r}: the schema of the parameters must be of type 'object'")
        if self.function is not None and not callable(self.function):
            raise ConfigError(f"tool {self.name!r}: function must be callable, not {type(self.function).__name__}")
        # The dataclass is frozen. Inspecting the signature is slow, so it is done once for each tool.
        object.__setattr__(self, "wants_context", self.function is not None and _accepts_context(self.function))

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments, in the form that is sent."""
        schema = self._given_schema
        return schemas.strict_schema(schema) if self.strict else schema

    @property
    def _given_schema(self) -> dict[str, Any]:
        if isinstance(self.parameters, Mapping):
            return {"type": "object", "properties": {}, **self.parameters}
        return schemas.schema_of(self.parameters)

    @property
    def is_async(self) -> bool:
        """Whether the function must be awaited."""
        return self.function is not None and inspect.iscoroutinefunction(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function directly. Raises ``ConfigError`` if the tool has none."""
        if self.function is None:
            raise ConfigError(f"tool {self.name!r} has no function")
        return self.function(*args, **kwargs)

    def parse_arguments(self, raw: str) -> dict[str, Any]:
        """Return the arguments for the function from the text ``raw`` that the model wrote.

        Raises ``ValueError``, whose text says what is wrong.
        """
        decoded = decode_arguments(raw)
        if decoded is None:
            raise ValueError("the arguments are not a JSON object")
        if isinstance(self.parameters, Mapping):
            schema = schemas.closed_schema(self._given_schema) if self.strict else self._given_schema
            found = find_problems(decoded, schema)
            if found:
                raise ValueError("; ".join(found))
            return decoded
        return _validate_arguments(self.parameters, decoded)


def decode_arguments(raw: str) -> dict[str, Any] | None:
    """Return the arguments that a model wrote, or None if they are not a JSON object. An empty text gives ``{}``."""
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):  # `RecursionError` comes from thousands of nested brackets
        return None
    return value if isinstance(value, dict) else None


def _validate_arguments(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        instance = model.model_validate(arguments)
    except pydantic.ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        raise ValueError("; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in rows)) from None
    # Only the arguments that the model gave: the function has its own defaults.
    return {name: getattr(instance, name) for name in type(instance).model_fields if name in instance.model_fields_set}


def _accepts_context(function: Callable[..., Any]) -> bool:
    try:
        return CONTEXT in read_signature(function).parameters
    except (TypeError, ValueError):  # a built-in without a signature
        return False


ToolLike: TypeAlias = Tool | Callable[..., Any] | Mapping[str, Any] | BuiltInTool
"""What may stand in ``tools=``: a tool, a function, a definition as a dict, or the name of a built-in tool.

Examples:
    >>> def weather(city: str, days: int = 1) -> str:
    ...     return f"fine for {days} days in {city}"
    >>> tools: list[aquila.ToolLike] = [weather]
    >>> aquila.ask("What is the weather in Ulm?", tools=tools).text
    'I found: fine for 2 days in Ulm'
"""


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *, name: str | None = None, description: str | None = None, strict: bool = False
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a typed function. Its schema comes from the type hints, its description from the docstring.

    Parameters are described by ``Annotated[int, "how many"]``, by pydantic's ``Field``, or by the docstring's ``Args:``
    section. A parameter ``tool_context`` receives the call's ``tool_context=`` and is hidden from the model. ``name``
    and ``description`` replace those of the function; ``strict`` lets the provider enforce the schema. The tool can
    still be called like the function. Raises ``ConfigError`` for a parameter that has no JSON schema.

    Examples:
        >>> @aquila.tool
        ... def weather(city: str, days: int = 1) -> str:
        ...     "Tell the weather of a city."
        ...     return f"fine for {days} days in {city}"
        >>> aquila.ask("What is the weather in Ulm?", tools=[weather]).text
        'I found: fine for 2 days in Ulm'
    """
    if function is None:
        return functools.partial(_make_tool, name=name, description=description, strict=strict)
    return _make_tool(function, name=name, description=description, strict=strict)


def _make_tool(function: Callable[..., Any], *, name: str | None, description: str | None, strict: bool) -> Tool:
    if isinstance(function, Tool):
        return function
    if not callable(function):
        raise ConfigError(f"@aquila.tool is for functions, not {type(function).__name__}")
    named = name or str(getattr(function, "__name__", type(function).__name__))
    if not _NAME.fullmatch(named):
        raise ConfigError(f"the function {named!r} needs a name that a model can call; give name=")
    target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    model = schemas.arguments_model(
        function if target is function else function.__call__,  # type: ignore[operator]
        name=named,
        leave_out=(CONTEXT,),
    )
    about = description if description is not None else schemas.summary_of_docstring(inspect.getdoc(function) or "")
    return Tool(named, model, function, about, strict)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of a call. ``tools`` run here, by name; ``built_in`` run at the provider, by name or as a dict."""

    tools: Mapping[str, Tool] = field(default_factory=dict)
    built_in: tuple[Mapping[str, Any] | str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tools or self.built_in)

    def choosable_names(self) -> tuple[str, ...]:
        """Return the names that ``tool_choice`` may contain."""
        return (*self.tools, *self.built_in_names())

    def built_in_names(self) -> tuple[str, ...]:
        """Return the names of the tools that run at the provider."""
        return tuple(each if isinstance(each, str) else str(each["type"]) for each in self.built_in)

    def runs_here(self, call: ToolCall) -> bool:
        """Whether a call is answered here: the tool has a function, or it is unknown and the model must be told so."""
        found = self.tools.get(call.name)
        return bool(self.tools) if found is None else found.function is not None


def without_forced_call(choice: Any) -> Any:
    """Return the ``tool_choice`` for the turns after the first: the same choice, but without forcing a call."""
    if choice in (None, "auto", "none"):
        return choice
    if not isinstance(choice, Mapping) or choice.get("type") != "allowed_tools":
        return "auto"
    inner = choice.get("allowed_tools")  # the form of the chat API; that of the Responses API is flat
    if isinstance(inner, Mapping):
        return {**choice, "allowed_tools": {**inner, "mode": "auto"}}
    return {**choice, "mode": "auto"}


def make_toolbox(tools: Any) -> Toolbox:
    """Return the tools of ``tools=``: tools, functions, names and dicts of built-in ones. Raises ``ConfigError``."""
    if isinstance(tools, (str, Mapping, Tool)) or not isinstance(tools, Iterable):
        raise ConfigError("tools is a list of tools, functions, and names or dicts of built-in tools")
    ours: dict[str, Tool] = {}
    theirs: list[Mapping[str, Any] | str] = []
    for each in tools:
        found = _tool_or_built_in(each)
        if not isinstance(found, Tool):
            theirs.append(found)
        elif found.name in ours:
            raise ConfigError(f"two tools are called {found.name!r}; give one of them another name=")
        else:
            ours[found.name] = found
    return Toolbox(ours, tuple(theirs))


def _tool_or_built_in(value: Any) -> Tool | Mapping[str, Any] | str:
    if isinstance(value, Tool):
        return value
    if isinstance(value, str):
        if value in _NEEDS_MORE:
            needed = _NEEDS_MORE[value]
            raise ConfigError(f"the built-in tool {value!r} needs more: {{'type': {value!r}, {needed!r}: ...}}")
        if value not in BUILT_IN:
            raise ConfigError(f"unknown built-in tool {value!r}{suggest_name(value, (*BUILT_IN, *_NEEDS_MORE))}")
        return value
    if isinstance(value, Mapping):
        return _tool_from_definition(value)
    if callable(value):
        return tool(value)
    raise ConfigError(f"a tool is a function, a Tool, or a name or dict of a built-in one, not {type(value).__name__}")


def _tool_from_definition(value: Mapping[str, Any]) -> Tool | Mapping[str, Any]:
    kind = value.get("type")
    if not isinstance(kind, str):
        raise ConfigError("a tool's dict needs a 'type', such as {'type': 'web_search'}")
    if kind != "function":
        return dict(value)
    inner = value.get("function", value)  # the form of the chat API, or that of the Responses API
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise ConfigError("a function's dict needs a 'name'")
    return Tool(
        inner["name"],
        inner.get("parameters") or {"type": "object", "properties": {}},
        description=inner.get("description") or "",
        strict=bool(inner.get("strict")),
    )
