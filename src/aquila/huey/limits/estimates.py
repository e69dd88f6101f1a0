"""Estimates how many tokens a request will take, before its answer reports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BYTES = 4
"""Bytes of text in a token, as a rule of thumb. The estimate is corrected when the answer reports its usage."""
_MEDIA = 1000
"""Tokens of an image, a sound or a file."""
_LONG = 2000  # Characters. A longer text without a space in its first ones is base64 data of a file.
# Fields that the model never reads as tokens.
_NOT_READ = frozenset({"model", "metadata", "user", "stream", "stream_options", "store", "service_tier"})


def estimate_input(body: Mapping[str, Any]) -> int:
    """Return about how many tokens a model will read in the JSON body of a request, at least 1."""
    size = sum(_size_of(value) for name, value in body.items() if name not in _NOT_READ)
    return max(1, round(size / _BYTES))


def _size_of(value: Any) -> int:
    if isinstance(value, str):
        if value.startswith("data:") or (len(value) > _LONG and " " not in value[:_LONG]):
            return _MEDIA * _BYTES
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return sum(_size_of(each) + len(str(name)) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return sum(map(_size_of, value))
    if isinstance(value, (bytes, bytearray)):
        return _MEDIA * _BYTES
    return 0 if value is None else 4  # A number or a truth value: about one token.
