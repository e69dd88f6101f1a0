"""Advice about a client that cannot be made because the variable with its key is not set."""

from __future__ import annotations

import os
import re

from aquila.intercept import dummy_keys
from aquila.recording.runtime import Run

_KEY_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:API_?KEY|KEY|KEY_ID|TOKEN|SECRET|CREDENTIALS?)\b")


def advise_on_missing_key(message: str, run: Run) -> str | None:
    """Return advice on a failure with this message, or None if it names no unset variable that holds a key."""
    if not dummy_keys.needs_no_key(run.layers.resolve()):
        return None
    missing = [name for name in dict.fromkeys(_KEY_VARIABLE.findall(message)) if name not in os.environ]
    if not missing:
        return None
    return (
        f"The error names {' and '.join(missing)}. In this run no request needs a key, so Aquila gives a dummy "
        "to the variables of the providers that it knows (aquila/intercept/provider_keys.py). To give "
        f"it to this one too, add to the ini file: aquila_dummy_keys = {' '.join(missing)}"
    )
