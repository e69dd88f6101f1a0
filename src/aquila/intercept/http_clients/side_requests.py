"""A table of side requests, which libraries send besides requests to models.

They are for telemetry, price lists and lists of other tools. No test asks for them, and whether one is sent depends on
the code that ran before. So they are never recorded and never a miss: they fail as on a machine without a network. The
setting ``side_requests`` adds rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from aquila.wildcards import fits_pattern

SIDE_REQUESTS = (
    "POST api.openai.com/v1/traces/ingest",  # openai-agents: tracing, from a thread
    "GET api.cerebras.ai/v1/tcp_warming",  # the SDK of Cerebras: when a client is made
    # langsmith: tracing of langchain and langgraph, from a thread. A program's own requests have other paths.
    "GET api.smith.langchain.com/info",
    "GET *.api.smith.langchain.com/info",
    "POST api.smith.langchain.com/runs",
    "POST *.api.smith.langchain.com/runs",
    "POST api.smith.langchain.com/runs/batch",
    "POST *.api.smith.langchain.com/runs/batch",
    "POST api.smith.langchain.com/runs/multipart",
    "POST *.api.smith.langchain.com/runs/multipart",
    "PATCH api.smith.langchain.com/runs/*",
    "PATCH *.api.smith.langchain.com/runs/*",
    "POST api.smith.langchain.com/otel/v1/traces",
    "POST *.api.smith.langchain.com/otel/v1/traces",
    "GET pypi.org/pypi/fastmcp/json",  # fastmcp: whether there is a newer one, when a server starts
    "GET api.gradio.app/pkg-version",  # gradio: whether there is a newer one, when an app is made
    "GET huggingface.co/api/agent-harnesses",  # huggingface_hub: once a day
    "HEAD huggingface.co/api/telemetry/*",  # huggingface_hub, gradio, transformers
    # litellm: prices, when it is imported, and names of beta features, with the first request to Anthropic.
    "GET raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json",
    "GET raw.githubusercontent.com/BerriAI/litellm/main/litellm/anthropic_beta_headers_config.json",
    # mem0: what it shows to its users, at most once an hour in each process.
    "GET raw.githubusercontent.com/mem0ai/mem0/main/mem0/memory/oss_notices_config.json",
    # litellm: the abilities of an Ollama model, which it needs only to look up a price.
    "POST localhost:11434/api/show",
    "POST 127.0.0.1:11434/api/show",
    # posthog, which other libraries count their users with; not the flags that a program asks for.
    "POST *.i.posthog.com/batch/",
    "POST *.i.posthog.com/i/v0/*",
    "POST *.i.posthog.com/i/v1/analytics/events",
    "POST app.posthog.com/batch/",
    "POST eu.posthog.com/batch/",  # haystack
    "POST us.posthog.com/batch/",
    "POST *sentry*/api/*/envelope/",  # sentry-sdk, from a thread, also to a server of the project's own
    "POST cloud.langfuse.com/api/public/otel/v1/traces",  # langfuse, from a thread
    "POST *.cloud.langfuse.com/api/public/otel/v1/traces",
    "POST cloud.langfuse.com/api/public/ingestion",  # before its version 3
    "POST *.cloud.langfuse.com/api/public/ingestion",
    "POST logfire-*.pydantic.dev/v1/traces",  # logfire, from a thread
    "POST logfire-*.pydantic.dev/v1/metrics",
    "POST logfire-*.pydantic.dev/v1/logs",
    "GET logfire-*.pydantic.dev/v1/info",  # whether its token is valid, once, from a thread
    "POST telemetry.crewai.com:4319/v1/traces",
    "POST os-api.agno.com/telemetry/*",  # agno, from a thread
    # Hosts that take traces by OpenTelemetry and have it in their names: agentops, braintrust, deepeval, langwatch.
    *(f"POST *{name}*/v1/{kind}" for name in ("otlp", "otel") for kind in ("traces", "metrics", "logs")),
    "POST api.agentops.ai/v3/auth/token",  # agentops: when it begins
    "POST api.honeycomb.io/v1/traces",
    "POST api.*.honeycomb.io/v1/traces",
    "POST app.phoenix.arize.com/*v1/traces",
    "POST api.traceloop.com/v1/traces",
    "POST api.traceloop.com/v1/metrics",
    "POST api.*.honeyhive.ai/opentelemetry/v1/traces",
    "POST t.explodinggradients.com/",  # ragas, with an id of the machine, in the thread that evaluates
    "GET packages.unstructured.io/python-telemetry",  # unstructured: with the platform, from a thread for each document
    "GET config.mlflow-telemetry.io/*",  # mlflow: where to send what it counts, before it sends anything
    "POST hty0gc1ok3.execute-api.us-east-1.amazonaws.com/v1/traces",  # guardrails-ai
    "POST api.lunary.ai/v1/runs/ingest",
    "POST www.comet.com/opik/api/v1/private/traces/batch",
    "POST www.comet.com/opik/api/v1/private/spans/batch",
    "POST trace.wandb.ai/*/calls/complete",  # weave
    # ray: in which cloud it starts, and what it counts.
    "GET 169.254.169.254/latest/meta-data/",
    "GET 169.254.169.254/metadata/instance",
    "GET metadata.google.internal/computeMetadata/v1",
    "POST usage-stats.ray.io/",
    "POST llmobs-intake.*/api/v2/llmobs",  # ddtrace, where there is no agent
)
"""Each row is a method, and a host with the path: ``POST api.example.com/v1/x``. ``*`` stands for any characters.

A row is as narrow as the library's source allows: it does not fit a request that a program may send on purpose.
"""

DOWNLOADS = (
    "GET openaipublic.blob.core.windows.net/*encodings/*",  # tiktoken: the words of a model
    "GET chroma-onnx-models.s3.amazonaws.com/*",  # chromadb: the model that embeds where none is named
)
"""Files that a library downloads if this machine does not have them yet, in the same form.

These requests go out, and are neither recorded nor a miss: code under test needs the files, and whether it requests
them depends on the machine.
"""


def is_side_request(method: str, host: str, port: int | None, path: str, extra: Sequence[str]) -> bool:
    """Whether a request is a side request. ``extra`` are rows of the project. ``-`` before a row removes that row."""
    host, path = host.lower().rstrip("."), path.partition("?")[0]
    rows = _rows_in_force(SIDE_REQUESTS, tuple(extra))
    return _fits_any(f"{method.upper()} {host}{path}", rows) or (
        port is not None and _fits_any(f"{method.upper()} {host}:{port}{path}", rows)
    )


def is_side_host(host: str, extra: Sequence[str]) -> bool:
    """Whether a row ``* host/*`` in ``extra`` says that all requests to a host are side requests."""
    addresses = (row.removeprefix("* ") for row in extra if row.startswith("* "))
    hosts = tuple(address.removesuffix("/*") for address in addresses if address.endswith("/*"))
    return _fits_any(host.lower().rstrip("."), hosts)


def is_download(method: str, host: str, path: str, extra: Sequence[str]) -> bool:
    """Whether a request is one of ``DOWNLOADS``. ``-`` before one of its rows in ``extra`` removes that row."""
    rows = _rows_in_force(DOWNLOADS, tuple(row for row in extra if row.startswith("-")))
    return _fits_any(f"{method.upper()} {host.lower().rstrip('.')}{path.partition('?')[0]}", rows)


@lru_cache(maxsize=8)  # one entry for each table and value of the setting, of which a run has few
def _rows_in_force(table: tuple[str, ...], extra: tuple[str, ...]) -> tuple[str, ...]:
    taken = {row[1:].strip() for row in extra if row.startswith("-")}
    return tuple(row for row in (*table, *extra) if row not in taken and not row.startswith("-"))


@lru_cache(maxsize=512)
def _fits_any(text: str, rows: tuple[str, ...]) -> bool:
    """Whether a text fits one of the rows. Cached: a program sends many requests to few addresses."""
    return any(fits_pattern(text, row) for row in rows)
