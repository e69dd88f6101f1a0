"""The types that a provider's SDK expects in an answer, where the SDK is installed.

They are pydantic models. The table at the end maps the path of a request to the model of its answer. The package is
imported when its first answer is compared.
"""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Union

_JSON_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null", bytes: "string"}
_EVERYTHING = frozenset({"string", "boolean", "number", "null", "object", "array"})


class SdkField(NamedTuple):
    """What an SDK declares of one field."""

    type: SdkType
    is_known: bool
    is_required: bool


@dataclass(frozen=True, slots=True)
class SdkType:
    """What an SDK expects at one place: JSON types, the models of objects, and the annotations of list items."""

    json_types: frozenset[str] = _EVERYTHING
    models: tuple[Any, ...] = ()
    items: tuple[Any, ...] = ()
    is_known: bool = False
    """Whether the SDK declares anything for the place."""

    def allows(self, json_type: str) -> bool:
        """Whether a value of a JSON type is expected here."""
        return json_type in self.json_types

    def item(self) -> SdkType:
        """Return what is expected of the items of a list here."""
        return _merge([read_annotation(each) for each in self.items])

    def variant(self, kind: str) -> SdkType:
        """Return what is expected of an object here whose field ``type`` is ``kind``, an empty text if it has none."""
        fitting = tuple(each for each in self.models if kind in _kinds_of(each))
        if not kind or (not fitting and len(self.models) == 1):
            fitting += tuple(each for each in self.models if not _kinds_of(each))
            fitting = fitting or self.models[:1]
        return SdkType(frozenset({"object"}), fitting, is_known=True) if fitting else ANYTHING

    def knows_kind(self, kind: str) -> bool:
        """Whether objects of this kind are expected here, or nothing is known of the place."""
        kinds = [_kinds_of(each) for each in self.models]
        return not all(kinds) or not kinds or any(kind in each for each in kinds)

    def field(self, name: str) -> SdkField:
        """Return what is declared of a field of the objects here."""
        found = [fields[name] for fields in map(_fields_of, self.models) if name in fields]
        required = bool(found) and len(found) == len(self.models) and all(each.is_required() for each in found)
        return SdkField(_merge([read_annotation(each.annotation) for each in found]), bool(found), required)

    @property
    def name(self) -> str:
        """The names of the models, for messages."""
        return " or ".join(each.__name__ for each in self.models)

    def describe(self) -> str:
        """Return the expected JSON types, for messages."""
        return " or ".join(sorted(self.json_types))


ANYTHING = SdkType()
"""The type of a place of which nothing is known: it allows everything."""


def _merge(alternatives: list[SdkType]) -> SdkType:
    if not alternatives or not all(each.is_known for each in alternatives):
        return ANYTHING
    return SdkType(
        frozenset().union(*(each.json_types for each in alternatives)),
        tuple(dict.fromkeys(model for each in alternatives for model in each.models)),
        tuple(item for each in alternatives for item in each.items),
        is_known=True,
    )


def read_annotation(annotation: Any) -> SdkType:
    """Return what a type annotation of an SDK's model expects."""
    if hasattr(annotation, "__value__"):  # an alias by a ``type`` statement
        return read_annotation(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return read_annotation(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _merge([read_annotation(each) for each in typing.get_args(annotation)])
    if origin is Literal:
        return _merge([_of_class(type(each)) for each in typing.get_args(annotation)])
    if origin is not None and inspect.isclass(origin) and hasattr(origin, "model_fields"):
        return _of_class(origin)
    if origin is not None and inspect.isclass(origin):
        if issubclass(origin, dict) or "Mapping" in origin.__name__:
            return SdkType(frozenset({"object"}), is_known=True)
        return SdkType(frozenset({"array"}), items=typing.get_args(annotation)[:1], is_known=True)
    return _of_class(annotation)


def _of_class(annotation: Any) -> SdkType:
    if annotation is None:
        return SdkType(frozenset({"null"}), is_known=True)
    if not inspect.isclass(annotation) or annotation is object:
        return ANYTHING  # Any, a type variable, a name that was not resolved
    if annotation in _JSON_TYPES:
        return SdkType(frozenset({_JSON_TYPES[annotation]}), is_known=True)
    if hasattr(annotation, "model_fields"):
        return SdkType(frozenset({"object"}), (annotation,), is_known=True)
    if issubclass(annotation, enum.Enum):
        return SdkType(frozenset(_JSON_TYPES.get(type(each.value), "string") for each in annotation), is_known=True)
    if issubclass(annotation, dict) or hasattr(annotation, "__required_keys__"):
        return SdkType(frozenset({"object"}), is_known=True)
    return SdkType(frozenset({"array"}), is_known=True) if issubclass(annotation, list) else ANYTHING


@functools.lru_cache(maxsize=2048)
def _fields_of(model: Any) -> dict[str, Any]:
    # Cached, here and below, because the classes of an SDK do not change and are compared for each answer.
    return {field.alias or name: field for name, field in model.model_fields.items()}


@functools.lru_cache(maxsize=2048)
def _kinds_of(model: Any) -> frozenset[str]:
    """Return the values that the field ``type`` may have; empty if a model has no such field, or one for any text.

    An empty text among them says that the field may be missing, as in the later pieces of a streamed tool call.
    """
    field = _fields_of(model).get("type")
    if field is None:
        return frozenset()
    is_union = typing.get_origin(field.annotation) in (Union, types.UnionType)
    found: set[str] = set()
    for each in typing.get_args(field.annotation) if is_union else (field.annotation,):
        if each is type(None):
            found.add("")
        elif typing.get_origin(each) is Literal:
            found.update(map(str, typing.get_args(each)))
        else:
            return frozenset()
    return frozenset(found)


class SdkEndpoint(NamedTuple):
    """The types of one endpoint: ``path`` is a pattern of its URL; ``whole`` and ``event`` name types as module:class.

    ``whole`` is the type of an answer that is not streamed, ``event`` that of each event in a stream.
    """

    path: str
    whole: str
    event: str = ""


ENDPOINTS = (
    SdkEndpoint(
        r"/chat/completions$",
        "openai.types.chat:ChatCompletion",
        "openai.types.chat:ChatCompletionChunk",
    ),
    SdkEndpoint(r"/responses$", "openai.types.responses:Response", "openai.types.responses:ResponseStreamEvent"),
    SdkEndpoint(r"/responses/compact$", "openai.types.responses:CompactedResponse"),
    SdkEndpoint(r"/embeddings$", "openai.types:CreateEmbeddingResponse"),
    SdkEndpoint(r"/completions$", "openai.types:Completion", "openai.types:Completion"),
    SdkEndpoint(r"/moderations$", "openai.types:ModerationCreateResponse"),
    SdkEndpoint(r"/images/generations$", "openai.types:ImagesResponse", "openai.types:ImageGenStreamEvent"),
    SdkEndpoint(r"/images/edits$", "openai.types:ImagesResponse", "openai.types:ImageEditStreamEvent"),
    SdkEndpoint(r"/messages$", "anthropic.types:Message", "anthropic.types:RawMessageStreamEvent"),
)
"""The first row whose path fits counts."""


def sdk_type_for(path: str, *, streamed: bool) -> SdkType:
    """Return what the SDK expects in the answer to a request with this path; ``ANYTHING`` if nothing is known."""
    endpoint = next((each for each in ENDPOINTS if re.search(each.path, path)), None)
    found = "" if endpoint is None else endpoint.event if streamed else endpoint.whole
    return ANYTHING if not found else _load(found)


# What is not installed stays so for as long as the process lives.
@functools.lru_cache(maxsize=32)
def _load(place: str) -> SdkType:
    module, _, name = place.partition(":")
    try:
        return read_annotation(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError):  # the SDK is not installed, or a version without this type
        return ANYTHING
