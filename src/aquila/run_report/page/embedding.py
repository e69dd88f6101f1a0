"""Embeds data, scripts and styles in a page that may load nothing and run nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import json
import math
import re
from typing import Any

PARTS = importlib.resources.files(__package__) / "parts"  # which may be in an archive
_UNSAFE = re.compile("[<>\u2028\u2029\ufeff\ufffe\uffff\x7f\ud800-\udfff]")
"""Characters that could end a script element, end a line in old browsers, or cannot be encoded as UTF-8."""


def write_json(value: Any) -> str:
    """Write JSON that can stand in a script element.

    Args:
        value: What JSON can hold. Numbers that it cannot hold become texts.

    Returns:
        The JSON. In it ``<``, control characters and halves of surrogate pairs are escaped. So nothing in it ends the
        element, and a browser reads the same value after it was stored as UTF-8.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # infinity or NaN, which Python writes but `JSON.parse` of a browser refuses
        text = json.dumps(_replace_numbers(value), ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _replace_numbers(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _replace_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_numbers(inner) for inner in value]
    return value


@functools.cache  # for the life of the process: the files are part of the package and do not change
def read_parts(*names: str) -> str:
    """Return files of the folder ``parts``, one after the other, with ``\\n`` as line ends."""
    # Browsers turn \r\n into \n before they hash an inline script, so the hash in the policy must be of \n.
    return "\n".join((PARTS / name).read_text(encoding="utf-8").replace("\r\n", "\n") for name in names)


def join_scripts(*names: str, more: str = "") -> str:
    """Return scripts of the folder ``parts``, and the text of ``more``, as one script that leaves no global names."""
    return f'"use strict";\n(() => {{\n{read_parts(*names)}\n{more}\n}})();\n'


def hash_source(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy_for(script: str, style: str, *, more: str = "") -> str:
    """Return the Content-Security-Policy of a page: one inline script, one inline style, nothing from anywhere else.

    Args:
        script: The text of the script element.
        style: The text of the style element.
        more: Directives that a page needs beside these, for example ``connect-src 'self'``.

    Returns:
        The policy, for a meta element or a header.
    """
    directives = [
        "default-src 'none'",
        f"script-src {hash_source(script)}",
        f"style-src {hash_source(style)}",
        "img-src data: blob:",
        "media-src data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        *([more] if more else []),
    ]
    return "; ".join(directives)
