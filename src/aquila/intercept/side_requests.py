"""Side requests: what libraries send besides asking a model. A table, with nothing to import.

Telemetry, price lists, lists of other tools. No test asks for them, and whether one is sent depends on what ran before.
So they are never recorded and never a miss: they fail as on a machine without a network. The setting ``side_requests``
adds rows.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from functools import lru_cache

SIDE_REQUESTS = (
    # The clients' own.
    "POST api.openai.com/v1/traces/ingest",  # openai-agents: tracing, from a thread
    "GET api.cerebras.ai/v1/tcp_warming",  # the SDK of Cerebras: when a client is made
    "POST api.smith.langchain.com/*",  # langsmith: tracing of langchain and langgraph, from a thread
    "GET api.smith.langchain.com/info",
    "POST *.api.smith.langchain.com/*",
    "GET *.api.smith.langchain.com/info",
    "GET huggingface.co/api/agent-harnesses",  # huggingface_hub: once a process
    "HEAD huggingface.co/api/telemetry/*",
    "GET raw.githubusercontent.com/BerriAI/litellm/*",  # litellm: prices, when it is imported
    "POST localhost:11434/api/show",  # what an Ollama model can do
    "POST 127.0.0.1:11434/api/show",
    # Services that are there for telemetry alone.
    "* *.i.posthog.com/*",
    "* *.posthog.com/*",
    "* *.ingest.sentry.io/*",
    "* *.ingest.*.sentry.io/*",
    "* *.langfuse.com/api/public/ingestion",
    "* *.langfuse.com/api/public/otel/*",
    "* api.mixpanel.com/*",
    "* api.segment.io/*",
    "* logfire-*.pydantic.dev/*",
    "* telemetry.crewai.com/*",
    "* us-east-1-*.openmeter.io/*",
    "* *.amplitude.com/*",
    "* *.datadoghq.com/*",
    "* *.datadoghq.eu/*",
)
"""Each row is a method, and a host with the path: ``POST api.example.com/v1/x``. ``*`` stands for any characters."""


class NoNetwork(socket.gaierror):
    """What a side request fails with, in the terms of the client that made it."""

    def __init__(self) -> None:
        super().__init__(socket.EAI_AGAIN, "Temporary failure in name resolution (a side request: see Aquila's table)")


def is_side_request(method: str, host: str, port: int | None, path: str, extra: Sequence[str]) -> bool:
    """Whether a request is a side request. ``extra`` are rows of the project; ``-`` before one takes it away."""
    host, path = host.lower().rstrip("."), path.partition("?")[0]
    pattern = _compile_rows(tuple(extra))
    spelt = f"{method.upper()} {host}{path}"
    return pattern.fullmatch(spelt) is not None or (
        port is not None and pattern.fullmatch(f"{method.upper()} {host}:{port}{path}") is not None
    )


def is_side_host(host: str, extra: Sequence[str]) -> bool:
    """Whether a host gets nothing but side requests, whatever the method and path."""
    return _compile_hosts(tuple(extra)).fullmatch(host.lower().rstrip(".")) is not None


@lru_cache(maxsize=8)
def _rows(extra: tuple[str, ...]) -> tuple[str, ...]:
    taken = {row[1:].strip() for row in extra if row.startswith("-")}
    return tuple(row for row in (*SIDE_REQUESTS, *extra) if row not in taken and not row.startswith("-"))


@lru_cache(maxsize=8)
def _compile_rows(extra: tuple[str, ...]) -> re.Pattern[str]:
    return _compile(_rows(extra))


@lru_cache(maxsize=8)
def _compile_hosts(extra: tuple[str, ...]) -> re.Pattern[str]:
    addresses = (row.removeprefix("* ") for row in _rows(extra) if row.startswith("* "))
    return _compile([address.removesuffix("/*") for address in addresses if address.endswith("/*")])


def _compile(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(each).replace(r"\*", ".*") for each in patterns) or "(?!)")
