"""The clients that talk over WebSockets, and which file of `clients` uses each.

An application is written as its users write theirs, with the client's own retries and the provider's real host. Its
functions are the ways of the client: each takes a prompt, and returns what the program has seen. The name of one says
what it is about (``KINDS``), and may have something before that, and ``_async`` behind.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

KINDS = ("text", "stream", "tools", "audio", "own_ids", "error", "broken", "closed", "refused", "again")

_PATTERN = re.compile(rf"(?:\w+_)?({'|'.join(KINDS)})(?:_async)?")

APPLICATIONS = Path(__file__).parent / "clients"


@dataclass(frozen=True, slots=True)
class SocketClient:
    """One client.

    Attributes:
        name: What the documentation calls it.
        application: The module of ``clients`` that uses it.
        distributions: The packages whose versions are told, the client's own first.
        group: The dependency group whose environment has it.
        unsteady: The kinds of its ways that come out this way or that by themselves, without Aquila too.
    """

    name: str
    application: str
    distributions: tuple[str, ...]
    group: str = "wild"
    unsteady: tuple[str, ...] = ()

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that its application has, each with the application's name before it."""
        source = (APPLICATIONS / f"{self.application}.py").read_text("utf-8")
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = [node.name for node in ast.parse(source).body if isinstance(node, kinds)]
        ways = (f"{self.application}.{name}" for name in names if _PATTERN.fullmatch(name))
        return tuple(way for way in ways if self.kind_of(way) not in self.unsteady)

    @staticmethod
    def kind_of(way: str) -> str:
        """What a way is about."""
        found = _PATTERN.fullmatch(way.partition(".")[2])
        assert found is not None
        return found[1]


HOSTS = ("api.openai.com", "generativelanguage.googleapis.com")
KEYS = ("OPENAI_API_KEY", "GEMINI_API_KEY")

SOCKET_CLIENTS = (
    SocketClient("openai, Responses", "openai_responses", ("openai", "websockets")),
    SocketClient("openai, Realtime", "openai_realtime", ("openai", "websockets")),
    SocketClient("openai 2, Realtime", "openai_realtime", ("openai", "websockets"), group="wild-openai2"),
    SocketClient("openai-agents", "openai_agents", ("openai-agents", "websockets")),
    SocketClient("google-genai, Live", "gemini_live", ("google-genai", "websockets")),
    SocketClient("litellm, Realtime", "litellm_realtime", ("litellm", "websockets")),
    SocketClient("websockets", "plain_websockets", ("websockets",)),
    SocketClient("websockets 14", "plain_websockets", ("websockets",), group="wild-openai2"),
    SocketClient(
        "websockets 13",
        "plain_websockets",
        ("websockets",),
        group="wild-oldest",
        unsteady=("broken", "closed", "again"),  # before 14.2, messages that wait when a connection ends may be lost
    ),
    SocketClient("aiohttp", "plain_aiohttp", ("aiohttp",)),
    SocketClient("websocket-client", "plain_websocket_client", ("websocket-client",)),
    SocketClient("httpx-ws, in event loops", "plain_httpx_ws", ("httpx-ws", "httpx")),
)
