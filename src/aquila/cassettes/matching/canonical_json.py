"""JSON by value: how it is read and written so that equal values are written alike.

Whole numbers are integers, no digit is rounded away, the order of keys does not count, and placeholders of redaction
are numbered in the order in which they are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn

from aquila.cassettes.redaction.found_secrets import number_placeholders_anew

_MOST_DIGITS = 4000
"""A number with an exponent may have so many digits before or after its point."""


def encode_canonical(value: Any) -> str:
    """Write a value so that equal ones are written alike."""
    text = _encode(value)
    # They were numbered in the order in which the request has them, which may be another for an equal request.
    return number_placeholders_anew(text) if "redacted-" in text else text


def _encode_number(value: Any) -> list[Any]:
    """Encode what no float holds. No JSON has a NaN, so this is the encoding of nothing else."""
    if isinstance(value, Decimal):
        return [_NAN, str(value)]
    raise TypeError(f"{type(value).__name__} is not part of a canonical request")


_NAN = float("nan")
# ASCII escapes, so that text with lone surrogates can be hashed too.
_encode: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), check_circular=False, default=_encode_number
).encode


def _parse_number(text: str) -> int | float | Decimal:
    """Parse a number with a point or an exponent. Without a fraction it is an integer, so that 1.0 equals 1.

    Where a float would be written otherwise, because it does not hold all digits, it stays a ``Decimal``.
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
    return Decimal((sign, digits[:end], exponent + len(digits) - end))  # type: ignore[operator]


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice, which readers understand differently")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


parse_canonical: Callable[[str], Any] = json.JSONDecoder(
    parse_float=_parse_number, parse_constant=_refuse_constant, object_pairs_hook=_build_object
).decode
"""Read JSON by value. Raises ``ValueError`` for what is no JSON, and for a key that occurs twice in an object."""
