"""Finds the secrets of an environment.

Apart from what searches for them: every run that replays asks which there are, and few have to search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from aquila.cassettes.redaction.trivial_values import is_trivial

_NAME = re.compile(
    r"(?:^|_|API|AUTH)(?:KEYS?|TOKEN|PASSWD|PASSPHRASE|CREDENTIALS?|PAT|WEBHOOK|DSN)(?:_?\d+)?$|PASSWORD|SECRET", re.I
)
_URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")


def environment_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of an environment: each value, and the kind by which findings name it."""
    found: dict[str, str] = {}
    for name, text in environ.items():
        candidates = [text] if _names_a_secret(name) else []
        candidates += _URL_PASSWORD.findall(text) if "://" in text else ()
        for value in map(str.strip, candidates):
            if not is_trivial(value):
                found.setdefault(value, f"value of {name}")
    return found


@lru_cache(maxsize=4096)
def _names_a_secret(variable: str) -> bool:
    return _NAME.search(variable) is not None
