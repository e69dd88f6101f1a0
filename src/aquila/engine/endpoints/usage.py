"""Token counts, which the endpoints name differently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aquila.events import Usage


def usage_of(usage: Any, ref: str, metadata: Mapping[str, Any]) -> Usage:
    """Return the usage record of either endpoint, an object of the SDK or a mapping, as Aquila's ``Usage``."""
    if usage is None:
        return Usage(reported=False, ref=ref, metadata=metadata)
    spent = _first_count(usage, ("prompt_tokens", "input_tokens"))
    made = _first_count(usage, ("completion_tokens", "output_tokens"))
    details_in = _get_field(usage, "prompt_tokens_details") or _get_field(usage, "input_tokens_details")
    details_out = _get_field(usage, "completion_tokens_details") or _get_field(usage, "output_tokens_details")
    return Usage(
        input_tokens=spent,
        output_tokens=made,
        total_tokens=_first_count(usage, ("total_tokens",)) or spent + made,
        cached_tokens=_first_count(details_in, ("cached_tokens",)),
        reasoning_tokens=_first_count(details_out, ("reasoning_tokens",)),
        ref=ref,
        metadata=metadata,
    )


def _first_count(source: Any, names: Iterable[str]) -> int:
    return next((value for name in names if isinstance(value := _get_field(source, name), int)), 0)


def _get_field(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
