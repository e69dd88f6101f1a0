"""Dummy API keys in the environment while cassettes answer, so that clients construct and real keys stay unused.

The variables of the setting ``dummy_keys`` get the dummy where they are not set. (Not every known one: applications
choose a provider by which key is there.) A key that is set is replaced, if it is the machine's own: what a test sets
for itself is left alone. All is put back afterwards, unless it was changed meanwhile.

Redactors must know the real keys all the while: an application may have read them before the dummies were there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from aquila.config import DUMMY_KEY
from aquila.recording import runtime

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


_before: dict[str, str | None] | None = None


@contextlib.contextmanager
def remember_environment() -> Iterator[None]:
    """Know until the block ends what is the machine's own: what is set now, before any test has set something."""
    keys = runtime.machine_keys()
    outer = keys.environment
    keys.environment = {**os.environ, **keys.hidden}  # a run within a test that replays sees the dummies
    try:
        yield
    finally:
        keys.environment = outer


def replace_keys(missing: Sequence[str]) -> None:
    """Put the dummy in place of the machine's own keys, and into the ``missing`` variables that are not set."""
    global _before
    if _before is not None:
        return
    environment = os.environ
    values = {name: environment.get(name) for name in {*VARIABLES, *missing}}
    _before = {
        name: value
        for name, value in values.items()
        if ((name in missing) if value is None else _is_the_machines(name, value))
    }
    # First: in no thread may a key be gone from the environment and not be known as hidden.
    runtime.machine_keys().hidden = {name: value for name, value in _before.items() if value is not None}
    for name in _before:
        environment[name] = DUMMY_KEY


def _is_the_machines(name: str, value: str) -> bool:
    environment = runtime.machine_keys().environment
    return not environment or value == environment.get(name)


def restore_keys() -> None:
    """Undo ``replace_keys``."""
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
    runtime.machine_keys().hidden = {}
