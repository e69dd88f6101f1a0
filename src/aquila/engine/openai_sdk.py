"""The names of the openai package that the engine uses. The package is an extra, loaded by the first call.

All of Aquila can be imported without it. Where it is needed and missing, the error names the command that installs it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from aquila.errors import MissingDependency
from aquila.optional import import_optional, install_command

if TYPE_CHECKING:
    from openai import (
        APIConnectionError,
        APIError,
        APIStatusError,
        APITimeoutError,
        AsyncOpenAI,
        OpenAI,
        Timeout,
    )
    from openai.types.chat import ChatCompletionChunk

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncOpenAI",
    "ChatCompletionChunk",
    "OpenAI",
    "Timeout",
]

_OLDEST = 3
"""The first major version that uses httpx2, as the transports do."""

_FIRST_WITH_WEB_SOCKETS = "3.8"
"""The first version with ``responses.connect``."""

_PURPOSE = "aquila.ask"

_MODULES = {"ChatCompletionChunk": "openai.types.chat"}
"""The submodules of those names that the package itself does not export."""


# Checked once for the process. An error is not kept: in a notebook the package may be installed after it.
@cache
def require_sdk() -> None:
    """Load the openai package. Raises ``MissingDependency`` where there is none, or one that is too old."""
    installed: str = import_optional("openai", "openai", purpose=_PURPOSE).__version__
    if int(installed.partition(".")[0]) < _OLDEST:
        raise MissingDependency(
            f"{_PURPOSE} needs openai {_OLDEST} or newer, and openai {installed} is installed; to upgrade it: "
            f"{install_command('openai')}. Recording and replaying other clients works with this version too"
        )


def require_web_sockets(responses: Any) -> None:
    """Raise ``MissingDependency`` if a client's Responses API cannot be connected to."""
    if not hasattr(responses, "connect"):
        installed = import_optional("openai", "openai", purpose=_PURPOSE).__version__
        raise MissingDependency(
            f"{_PURPOSE}(websocket=True) needs openai {_FIRST_WITH_WEB_SOCKETS} or newer, and openai {installed} is "
            f"installed; to upgrade it: {install_command('openai,websockets')}"
        )


if not TYPE_CHECKING:  # with a module ``__getattr__``, type checkers accept any misspelt name

    def __getattr__(name: str) -> Any:
        """Take a name from the openai package when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        require_sdk()
        module = import_optional(_MODULES.get(name, "openai"), "openai", purpose=_PURPOSE)
        # Kept in the module, so that the next access does not come here; never cleared.
        value = globals()[name] = getattr(module, name)
        return value
