"""Dummy API keys in the environment while cassettes answer, so that clients construct and real keys stay unused.

The variables of the setting ``dummy_keys`` get the dummy where they are not set. (Not every known one: applications
choose a provider by which key is there.) A key that is set is replaced, if it is the machine's own: what a test sets
for itself is left alone. All is put back afterwards, unless it was changed meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from aquila.config import DUMMY_KEY

VARIABLES = (
    "ANTHROPIC_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "CEREBRAS_API_KEY",
    "COHERE_API_KEY",
    "CO_API_KEY",
    "DEEPSEEK_API_KEY",
    "FIREWORKS_API_KEY",
    "GOOGLE_API_KEY",
    "GROQ_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "PERPLEXITY_API_KEY",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
)
"""The variables from which clients of providers take their keys."""


_machines_own: dict[str, str | None] | None = None
_before: dict[str, str | None] | None = None


def remember() -> None:
    """Note which keys are the machine's own: those that are set now, before any test has set one."""
    global _machines_own
    _machines_own = {name: os.environ.get(name) for name in VARIABLES}


def hide(missing: Sequence[str]) -> None:
    """Put the dummy in place of the machine's own keys, and into the ``missing`` variables that are not set."""
    global _before
    if _before is not None:
        return
    _before = {}
    environment = os.environ
    for name in {*VARIABLES, *missing}:
        value = environment.get(name)
        if (name in missing) if value is None else _is_the_machines(name, value):
            _before[name] = value
            environment[name] = DUMMY_KEY


def _is_the_machines(name: str, value: str) -> bool:
    return _machines_own is None or value == _machines_own.get(name)


def restore() -> None:
    """Undo ``hide``."""
    global _before
    if _before is None:
        return
    before, _before = _before, None
    environment = os.environ
    for name, value in before.items():
        if environment.get(name) == DUMMY_KEY:
            if value is None:
                del environment[name]
            else:
                environment[name] = value
