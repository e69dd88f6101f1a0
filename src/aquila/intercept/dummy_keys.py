"""Dummy API keys in the environment while cassettes answer, so that clients can be built and real keys stay unused.

The variables of the setting ``dummy_keys`` get the dummy where they are not set. (Not every known variable:
applications choose a provider by which key is there.) A key that is set is replaced if it is the machine's own. A key
that a test sets for itself is left alone. Everything is put back afterwards, unless it was changed meanwhile.

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


class DummyKeys:
    """The dummies in the environment of this process. Nothing is replaced at first."""

    def __init__(self) -> None:
        # The values that dummies have replaced, by variable, or None while nothing is replaced. `replace_keys` sets it
        # and `restore_keys` clears it; their caller lets one thread at a time change the environment.
        self._replaced: dict[str, str | None] | None = None

    def replace_keys(self, missing: Sequence[str]) -> None:
        """Put the dummy in place of the machine's own keys, and into the ``missing`` variables that are not set."""
        if self._replaced is not None:
            return
        environment = os.environ
        values = {name: environment.get(name) for name in {*VARIABLES, *missing}}
        self._replaced = {
            name: value
            for name, value in values.items()
            if ((name in missing) if value is None else _is_the_machines(name, value))
        }
        # First: in no thread may a key be gone from the environment and not be known as hidden.
        runtime.machine_keys().hidden = {name: value for name, value in self._replaced.items() if value is not None}
        for name in self._replaced:
            environment[name] = DUMMY_KEY

    def restore_keys(self) -> None:
        """Undo ``replace_keys``. A variable that somebody has changed since keeps its value."""
        if self._replaced is None:
            return
        replaced, self._replaced = self._replaced, None
        environment = os.environ
        for name, value in replaced.items():
            if environment.get(name) == DUMMY_KEY:
                if value is None:
                    del environment[name]
                else:
                    environment[name] = value
        runtime.machine_keys().hidden = {}


def _is_the_machines(name: str, value: str) -> bool:
    environment = runtime.machine_keys().environment
    return not environment or value == environment.get(name)
