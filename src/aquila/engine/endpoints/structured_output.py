"""Structured output and metadata in the form that providers accept, for both endpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila import schemas
from aquila.engine.calls.options import Options
from aquila.errors import InvalidAnswer
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import pydantic
else:
    lazy_modules(globals(), "pydantic")


def response_format_to_wire(wanted: Any) -> dict[str, Any]:
    """Return ``response_format`` in the form of the chat API: a model as its strict schema, a dict as it is."""
    if isinstance(wanted, Mapping):
        return dict(wanted)
    schema = schemas.strict_schema(schemas.schema_of(wanted))
    # The API accepts 64 of these characters at most. A generic pydantic model has a name such as ``Page[City]``.
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", wanted.__name__).strip("_")[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


_UNFINISHED = ("length", "content_filter", "incomplete", "cancelled", "queued", "in_progress")


def parse_answer(wanted: Any, text: str, finish_reason: str | None, refusal: str) -> Any:
    """Return the answer's text as the pydantic model that was asked for; None for a refused or unfinished answer.

    Raises ``InvalidAnswer`` for a complete answer that does not fit the model.
    """
    if not isinstance(wanted, type) or refusal or finish_reason in _UNFINISHED:
        return None
    try:
        return wanted.model_validate_json(text)  # type: ignore[attr-defined]
    except pydantic.ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        found = "; ".join(f"{'.'.join(map(str, row['loc'])) or 'the answer'}: {row['msg']}" for row in rows[:5])
        raise InvalidAnswer(f"the answer is not a {wanted.__name__}: {found}", body=text) from error


def metadata_to_wire(options: Options) -> dict[str, str] | None:
    """Return the metadata with values as text, the only type that providers accept; None if there is none."""
    return {key: _as_text(value) for key, value in options.metadata.items()} or None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    except TypeError:  # Numbers beside texts as keys cannot be sorted. In JSON all are texts.
        return _as_text(json.loads(json.dumps(value, default=str)))
