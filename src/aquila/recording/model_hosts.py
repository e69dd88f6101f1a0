"""Which hosts and paths are for a model: the table of providers, and what an address says by it. Pure.

``intercept.policy.is_refused`` is the guard that uses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from aquila.config import Settings

PROVIDERS = (
    "*.ai.azure.com",
    "*.aiplatform.googleapis.com",
    "*.cognitiveservices.azure.com",
    "*.endpoints.huggingface.cloud",
    "*.inference.ai.azure.com",
    "*.ml.cloud.ibm.com",
    "*.openai.azure.com",
    "*.services.ai.azure.com",
    "*-aiplatform.googleapis.com",
    "ai-gateway.vercel.sh",
    "aiplatform.googleapis.com",
    "api.ai21.com",
    "api.anthropic.com",
    "api.assemblyai.com",
    "api.cerebras.ai",
    "api.cohere.ai",
    "api.cohere.com",
    "api.deepgram.com",
    "api.deepinfra.com",
    "api.deepseek.com",
    "api.elevenlabs.io",
    "api.fireworks.ai",
    "api.githubcopilot.com",
    "api.groq.com",
    "api.hyperbolic.xyz",
    "api.jina.ai",
    "api.minimax.chat",
    "api.minimax.io",
    "api.minimaxi.com",
    "api.mistral.ai",
    "api.moonshot.ai",
    "api.moonshot.cn",
    "api.nebius.com",
    "api.novita.ai",
    "api.openai.com",
    "*.api.openai.com",
    "api.perplexity.ai",
    "api.replicate.com",
    "api.reka.ai",
    "api.sambanova.ai",
    "api.scaleway.ai",
    "api.siliconflow.cn",
    "api.siliconflow.com",
    "api.stability.ai",
    "api.studio.nebius.com",
    "api.together.ai",
    "api.together.xyz",
    "api.tokenfactory.nebius.com",
    "api.voyageai.com",
    "api.writer.com",
    "api.x.ai",
    "api.z.ai",
    "api-inference.huggingface.co",
    "ark.*.volces.com",
    "bedrock.*.amazonaws.com",
    "bedrock-agent-runtime.*.amazonaws.com",
    "bedrock-runtime.*.amazonaws.com",
    "codestral.mistral.ai",
    "dashscope.aliyuncs.com",
    "dashscope-intl.aliyuncs.com",
    "gateway.ai.cloudflare.com",
    "generativelanguage.googleapis.com",
    "inference.baseten.co",
    "integrate.api.nvidia.com",
    "models.github.ai",
    "open.bigmodel.cn",
    "openrouter.ai",
    "router.huggingface.co",
    "router.requesty.ai",
)
"""Hosts of model providers. ``*`` stands for any characters."""

# Requests that only a model server answers, whatever its host. The last parts of the path decide: prefixes differ.
# Compiled when first needed: that takes a millisecond, which a run without any request is spared.
_MODEL_PATH = (
    r"/(?:chat/completions|(?:v1|openai|engines/[^/]+|deployments/[^/]+)/(?:completions|embeddings)"
    r"|v\d+/(?:responses(?:/.*)?|messages(?:/.*)?|models(?:/.*)?|audio/(?:transcriptions|translations|speech)"
    r"|images/(?:generations|edits)|moderations|rerank)"
    r"|openai/responses|api/(?:chat|generate|embed)|models/[^/]+:[A-Za-z]*(?:[Gg]enerate|[Ee]mbed)Content"
    r"|model/[^/]+/(?:converse|invoke)[a-z-]*)$"
)


@lru_cache(maxsize=512)
def matches_any(host: str, patterns: Sequence[str]) -> bool:
    """Say whether a host is among ``patterns`` (in lower case, ``*`` for any characters; ``host`` or ``host:port``)."""
    return _compile_patterns(tuple(patterns)).fullmatch(host) is not None


@lru_cache(maxsize=32)
def _compile_patterns(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(pattern.lower()).replace(r"\*", ".*") for pattern in patterns) or "(?!)")


def address_spellings(host: str, port: int | None) -> tuple[str, str]:
    """The two spellings under which patterns know an address: the host alone, and with its port."""
    host = host.lower().rstrip(".").strip("[]")
    return host, f"{host}:{port}"


def is_listed(host: str, port: int | None, patterns: Sequence[str]) -> bool:
    """Say whether an address is among ``patterns``, by its host or with its port."""
    if not patterns:
        return False
    return any(matches_any(spelling, tuple(patterns)) for spelling in address_spellings(host, port))


@lru_cache(maxsize=512)
def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, by its name or address. Nothing is resolved."""
    host = host.lower().rstrip(".").strip("[]").partition("%")[0]
    if host in ("localhost", "::1", "0.0.0.0", "::") or host.endswith(".localhost"):
        return True
    return re.fullmatch(r"(?:::ffff:)?127(?:\.\d{1,3}){1,3}", host) is not None


@lru_cache(maxsize=512)
def is_model_path(path: str) -> bool:
    """Say whether a path is one that model servers answer (``/v1/chat/completions``, ``/api/generate``, …)."""
    return re.search(_MODEL_PATH, path.partition("?")[0].rstrip("/")) is not None


def asks_model(host: str, port: int | None, path: str, settings: Settings) -> bool:
    """Whether a request is for a model: by its host, or by what it asks for there."""
    return is_provider(host, port, settings) or is_model_path(path)


def is_provider(host: str, port: int | None, settings: Settings) -> bool:
    """Whether an address belongs to a model provider: a known one, a listed one, or that of the base URL in force."""
    if is_loopback(host):
        return is_listed(host, port, settings.providers)
    if is_listed(host, port, PROVIDERS) or is_listed(host, port, settings.providers):
        return True
    return settings.base_url is not None and urlsplit(settings.base_url).hostname == host.lower()
