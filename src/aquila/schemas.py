"""JSON schemas of Python types, made by pydantic."""

from __future__ import annotations

import inspect
import re
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional

if TYPE_CHECKING:
    import pydantic
    from pydantic import BaseModel, fields
else:
    lazy_modules(globals(), "pydantic", "pydantic: fields")

Schema = dict[str, Any]


def arguments_model(function: Callable[..., Any], *, name: str, leave_out: Sequence[str] = ()) -> type[BaseModel]:
    """Return a pydantic model of a function's parameters, described by its docstring and by ``Annotated`` texts.

    ``name`` is the name of the tool, ``leave_out`` names parameters that get no field. Raises ``ConfigError`` for a
    parameter that cannot be given by name or has no JSON schema, and ``MissingDependency`` without pydantic.
    """
    # Imported only here, because it takes 60 ms. It is installed with openai.
    pydantic = import_optional("pydantic", "openai", purpose=f"tool {name!r}")
    described = described_parameters(inspect.getdoc(function) or "")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError(f"tool {name!r}: a type hint cannot be resolved: {error}") from error
    try:
        signature = inspect.signature(function)
    except ValueError as error:  # a built-in function
        raise ConfigError(f"tool {name!r}: its parameters are not known; wrap it in a function with hints") from error
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.name in leave_out:
            continue
        if not fields and parameter.name in ("self", "cls") and parameter.name not in hints:
            raise ConfigError(f"tool {name!r} is a method without its object; make the tool of object.{name}")
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"tool {name!r}: parameter {parameter} cannot be given by name; use plain parameters")
        if parameter.name.startswith("_"):  # no field of a model
            if parameter.default is parameter.empty:
                raise ConfigError(f"tool {name!r}: parameter {parameter} is private to the function; give it a default")
            continue
        hint = _describe_hint(hints.get(parameter.name, Any), described.get(parameter.name))
        # `...` tells pydantic that the field has no default.
        fields[parameter.name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
    try:
        config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        with warnings.catch_warnings():
            # A parameter may have the name of a model's method, such as ``schema`` or ``copy``. Nothing calls it here.
            warnings.filterwarnings("ignore", "Field name .* shadows an attribute in parent", UserWarning)
            model: type[BaseModel] = pydantic.create_model(name, __config__=config, **fields)
        schema_of(model)
        if kept := fields.keys() - model.model_fields.keys():
            raise TypeError(f"pydantic keeps the name {min(kept)!r} for itself")
    except (pydantic.errors.PydanticUserError, NameError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"tool {name!r}: a parameter's type has no JSON schema: {reason}") from error
    return model


def _describe_hint(hint: Any, description: str | None) -> Any:
    if typing.get_origin(hint) is Annotated:
        extras = typing.get_args(hint)[1:]
        texts = [extra for extra in extras if isinstance(extra, str)]
        given = any(isinstance(extra, fields.FieldInfo) and extra.description for extra in extras)
        description = None if given else texts[0] if texts else description
    return Annotated[hint, pydantic.Field(description=description)] if description else hint


_GOOGLE_HEAD = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_GOOGLE_ROW = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.+)$")
_SPHINX_ROW = re.compile(r"^:param\s+(?:[^:]*\s)?(\w+):\s*(.+)$")


def described_parameters(docstring: str) -> dict[str, str]:
    """Return the descriptions of parameters in a docstring: an ``Args:`` section, or ``:param name:`` lines."""
    found: dict[str, str] = {}
    current: str | None = None
    inside, indent = False, 0
    for line in docstring.splitlines():
        sphinx = _SPHINX_ROW.match(line.strip())
        if sphinx:
            current, inside = sphinx[1], False
            found[current] = sphinx[2].strip()
        elif _GOOGLE_HEAD.match(line.strip()):
            inside, current = True, None
        elif not line.strip():
            current = None
        elif inside and (row := _GOOGLE_ROW.match(line)) and (current is None or _indent_of(line) <= indent):
            current, indent = row[1], _indent_of(line)
            found[current] = row[2].strip()
        elif current is not None and _indent_of(line) > (indent if inside else 0):
            found[current] += " " + line.strip()
        elif not line.startswith((" ", "\t")):
            inside, current = False, None
    return found


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def summary_of_docstring(docstring: str) -> str:
    """Return a docstring without its sections about parameters, returns and errors."""
    kept: list[str] = []
    for line in docstring.splitlines():
        if re.match(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?):\s*$", line.strip()):
            break
        if line.strip().startswith((":param", ":return", ":raises", ":rtype")):
            break
        kept.append(line)
    return "\n".join(kept).strip()


def schema_of(model: type[BaseModel]) -> Schema:
    """Return the JSON schema of a pydantic model, without the titles that only repeat the names."""
    return typing.cast("Schema", _remove_titles(model.model_json_schema()))


def _remove_titles(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    return _change_parts({key: each for key, each in schema.items() if key != "title"}, _remove_titles)


_OF_NAMES = frozenset({"$defs", "definitions", "patternProperties", "properties"})
"""Keywords that hold schemas by name. A name such as ``title`` or ``default`` is no keyword there."""
_OF_VALUES = frozenset({"const", "default", "discriminator", "enum", "examples"})
"""Keywords that hold values, such as objects, and no schemas."""


def _change_parts(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> Schema:
    """Return ``schema`` with ``change`` applied to each schema that is directly in it."""

    def change_part(keyword: str, part: Any) -> Any:
        if keyword in _OF_VALUES:
            return part
        if keyword in _OF_NAMES and isinstance(part, Mapping):
            return {name: change(each) for name, each in part.items()}
        return [change(each) for each in part] if isinstance(part, (list, tuple)) else change(part)

    return {keyword: change_part(keyword, part) for keyword, part in schema.items()}


def strict_schema(schema: Mapping[str, Any]) -> Schema:
    """Return a schema in the form that OpenAI demands for ``strict``.

    It is ``closed_schema`` without two things that OpenAI refuses. An element of a tuple may have the type of any
    element, and a set may contain an element twice.
    """
    return typing.cast("Schema", _close_objects(schema, schema.get("$defs") or {}, frozenset(), is_sent=True))


def closed_schema(schema: Mapping[str, Any]) -> Schema:
    """Return the schema by which an answer to ``strict_schema`` is checked.

    Every object is closed, every property is required, and ``oneOf`` is ``anyOf``.
    """
    return typing.cast("Schema", _close_objects(schema, schema.get("$defs") or {}, frozenset(), is_sent=False))


def _close_objects(schema: Any, defined: Mapping[str, Any], inside: frozenset[str], *, is_sent: bool) -> Any:
    """Return ``schema`` with closed objects.

    ``defined`` are the definitions of the whole schema. ``inside`` names the definitions that contain this part.
    ``is_sent`` leaves out the keywords of lists that OpenAI refuses.
    """
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: each for key, each in schema.items() if key not in ("default", "discriminator")}
    name = str(kept.get("$ref", "")).removeprefix("#/$defs/")
    # OpenAI's strict mode allows no other keyword beside `$ref`, not even a description. The definition takes the
    # place of the reference, unless it contains itself: then the reference stays without its other keywords.
    if name in defined and len(kept) > 1:
        if name in inside:
            return {"$ref": kept["$ref"]}
        del kept["$ref"]
        kept, inside = {**defined[name], **kept}, inside | {name}
        kept.pop("discriminator", None)
    if "oneOf" in kept:  # which pydantic writes for a union with a discriminator, and OpenAI's strict mode refuses
        kept["anyOf"] = kept.pop("oneOf")
    if is_sent:
        kept.pop("uniqueItems", None)
        _join_elements(kept)
    closed = _change_parts(kept, lambda part: _close_objects(part, defined, inside, is_sent=is_sent))
    if isinstance(kept.get("properties"), Mapping):
        closed["required"] = list(kept["properties"])
        closed["additionalProperties"] = False
    return closed


def _join_elements(schema: dict[str, Any]) -> None:
    """Turn the schema of a tuple into that of a list, each of whose elements may have the type of any element."""
    if isinstance(parts := schema.pop("prefixItems", None), list | tuple):
        further = schema.get("items")  # False where a tuple has no further elements
        forms = [each for at, each in enumerate(parts) if each not in parts[:at]]
        forms += [further] if isinstance(further, Mapping) and further not in forms else []
        if forms:
            schema["items"] = forms[0] if len(forms) == 1 else {"anyOf": forms}
