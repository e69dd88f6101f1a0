"""Reads JSON by value. Writes and hashes values so that equal values give the same text and the same hash.

A number without a fraction is an integer, no digit is rounded away, and keys are sorted. The placeholders of redaction
are numbered in the order in which they are written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from aquila.cassettes.redaction.found_secrets import number_placeholders_anew

if TYPE_CHECKING:
    from aquila.cassettes.matching.match_rules import MatchRules

_MOST_DIGITS = 4000
"""The most digits that a number may have before or after its point.

Without a limit, the 11 characters ``1e100000000`` would become an integer with a hundred million digits.
"""


def encode_canonical(value: Any) -> str:
    """Write a value so that equal ones are written alike."""
    text = _encode(value)
    # Redaction numbered the placeholders in the order of the request. An equal request may have its keys, and so its
    # placeholders, in another order.
    return number_placeholders_anew(text) if "redacted-" in text else text


def hash_canonical(value: Any) -> str:
    """Return 32 hexadecimal digits, the same for equal values."""
    return hashlib.sha256(encode_canonical(value).encode()).hexdigest()[:32]


def leave_out(value: Any, rules: MatchRules) -> None:
    """Remove the fields and elements that the rules leave out from a JSON value, in place."""
    if isinstance(value, dict):
        for label in rules.labels:
            value.pop(label, None)
    for path in rules.paths:
        path.remove_from(value)
    if rules.ignores_empty:
        remove_empty_fields(value)


def remove_empty_fields(value: Any) -> None:
    """Remove the fields of JSON, in place, that are null or ``{}``, or would be ``{}`` without such fields."""
    if isinstance(value, dict):
        for key, child in tuple(value.items()):
            remove_empty_fields(child)
            if child is None or child == {}:
                del value[key]
    elif isinstance(value, list):
        for child in value:
            remove_empty_fields(child)


_NAN = float("nan")


def _encode_number(value: Any) -> list[Any]:
    """Encode a ``Decimal`` so that no JSON value has the same encoding: JSON has no NaN."""
    if isinstance(value, Decimal):
        return [_NAN, str(value)]
    raise TypeError(f"{type(value).__name__} is not part of a canonical request")


# ASCII escapes, so that text with lone surrogates can be hashed too.
_encode: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), check_circular=False, default=_encode_number
).encode


def _parse_number(text: str) -> int | float | Decimal:
    """Parse a number with a point or an exponent.

    A number without a fraction becomes an integer, so that 1.0 equals 1. One with more digits than a float holds
    becomes a ``Decimal``.
    """
    value = float(text)
    written = repr(value)
    if text == written and not value.is_integer():  # as most are
        return value
    number = _strip_zeros(text)
    if abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError("the number has too many digits")
    if number == number.to_integral_value():
        return int(number)
    return value if Decimal(written) == number else number


def _strip_zeros(text: str) -> Decimal:
    """Return a number without zeros at its end, so that equal numbers are written alike. No digit is rounded away."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except ArithmeticError:
        raise ValueError("the exponent is too large") from None
    if not any(digits):
        return Decimal(0)
    end = len(digits)
    while not digits[end - 1]:
        end -= 1
    # `exponent` may also be a letter by its type, for NaN and infinity. The JSON parser passes neither to this
    # function.
    return Decimal((sign, digits[:end], exponent + len(digits) - end))  # type: ignore[operator]


def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of JSON. Raises ``ValueError`` for a key that occurs twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice, which readers understand differently")
    return value


def refuse_constant(text: str) -> NoReturn:
    """Raise ``ValueError`` for NaN or infinity, which JSON does not have."""
    raise ValueError(f"{text} is not JSON")


parse_canonical: Callable[[str], Any] = json.JSONDecoder(
    parse_float=_parse_number, parse_constant=refuse_constant, object_pairs_hook=refuse_repeated_keys
).decode
"""Read JSON by value. Raises ``ValueError`` for what is no JSON, and for a key that occurs twice in an object."""
