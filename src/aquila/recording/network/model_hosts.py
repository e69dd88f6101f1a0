"""Which hosts and paths are for a model: the table of providers, and functions that look addresses up in it. Pure.

``aquila.intercept.provider_keys`` has the variables from which clients read the keys of these providers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aquila.recording.network.host_names import (
    DEFAULT_PORTS,
    SPELLINGS_OF_LOOPBACK,
    is_loopback,
    normalize_host,
    normalize_pattern,
    without_port,
)
from aquila.wildcards import fits_pattern

if TYPE_CHECKING:
    from aquila.settings import Settings

PROVIDERS = (
    "*.ai.azure.com",
    "*.aiplatform.googleapis.com",
    "*.assemblyai.com",
    "*.cognitiveservices.azure.com",
    "*.endpoints.huggingface.cloud",
    "*.inference.ai.azure.com",
    "*.ml.cloud.ibm.com",
    "*.openai.azure.com",
    "*.services.ai.azure.com",
    "*.speech.microsoft.com",
    "*-aiplatform.googleapis.com",
    "*-speech.googleapis.com",
    "*-texttospeech.googleapis.com",
    "agent.deepgram.com",
    "ai-gateway.vercel.sh",
    "aiplatform.googleapis.com",
    "api.ai21.com",
    "api.anthropic.com",
    "api.cartesia.ai",
    "api.cerebras.ai",
    "api.cohere.ai",
    "api.cohere.com",
    "api.deepgram.com",
    "api.deepinfra.com",
    "api.deepseek.com",
    "api.elevenlabs.io",
    "api.*.elevenlabs.io",
    "api.fireworks.ai",
    "api.githubcopilot.com",
    "api.groq.com",
    "api.hyperbolic.xyz",
    "api.inceptionlabs.ai",
    "api.jina.ai",
    "api.minimax.chat",
    "api.minimax.io",
    "api.minimaxi.com",
    "api.letta.com",
    "api.mistral.ai",
    "api.*.mistral.ai",
    "api.moonshot.ai",
    "api.moonshot.cn",
    "api.nebius.com",
    "api.novita.ai",
    "api.openai.com",
    "*.api.openai.com",
    "api.perplexity.ai",
    "api.portkey.ai",
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
    "api.upstage.ai",
    "api.voyageai.com",
    "api.writer.com",
    "api.x.ai",
    "*.api.x.ai",
    "api.z.ai",
    "api-atlas.nomic.ai",
    "api-inference.huggingface.co",
    "api-inference.together.ai",
    "ark.*.volces.com",
    "bedrock.*.amazonaws.com",
    "bedrock-agent-runtime.*.amazonaws.com",
    "bedrock-runtime.*.amazonaws.com",
    "codestral.mistral.ai",
    "dashscope.aliyuncs.com",
    "dashscope-intl.aliyuncs.com",
    "fal.run",
    "*.fal.run",
    "gateway.ai.cloudflare.com",
    "generativelanguage.googleapis.com",
    "inference.baseten.co",
    "integrate.api.nvidia.com",
    "models.github.ai",
    "ollama.com",
    "open.bigmodel.cn",
    "openrouter.ai",
    "router.huggingface.co",
    "router.requesty.ai",
    "runtime.sagemaker.*.amazonaws.com",
    "speech.googleapis.com",
    "stream.replicate.com",
    "texttospeech.googleapis.com",
)
"""Hosts of model providers. ``*`` stands for any characters."""

# Paths that only model servers have, whatever the host. Only the end of the path is matched, because gateways put
# prefixes before it. A text, which `re` compiles at first use: that takes a millisecond.
_MODEL_PATH = (
    r"/(?:chat/completions|(?:v1|openai|engines/[^/]+|deployments/[^/]+)/(?:completions|embeddings)"
    r"|v\d+/(?:responses(?:/.*)?|messages(?:/.*)?|models(?:/.*)?|audio/(?:transcriptions|translations|speech)"
    r"|images/(?:generations|edits)|moderations|rerank)"
    r"|v\d+/realtime(?:/.*)?|openai/realtime|[\w.]+\.BidiGenerate(?:Content|Music)(?:Constrained)?"
    r"|openai/responses|api/(?:chat|generate|embed)|models/[^/]+:[A-Za-z]*(?:[Gg]enerate|[Ee]mbed)Content"
    r"|model/[^/]+/(?:converse|invoke)[a-z-]*|accounts/[^/]+/ai/run/.+)$"
)
_USUAL_PATHS = ("/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
"""Ends of paths that ``_MODEL_PATH`` matches, too. A run that asks for nothing else never compiles it."""


# Asked at every request. The caches here go by their arguments alone, patterns included, so no entry goes out of date.
@lru_cache(maxsize=512)
def matches_any(host: str, patterns: Sequence[str]) -> bool:
    """Say whether a host is among ``patterns`` (``*`` for any characters; ``host`` or ``host:port``)."""
    return any(fits_pattern(host, normalize_pattern(pattern)) for pattern in patterns)


def address_spellings(host: str, port: int | None) -> tuple[str, str]:
    """Return the two spellings of an address that patterns may name: the host alone, and with its port."""
    host = normalize_host(host)
    return host, f"{host}:{port}"


def is_listed(host: str, port: int | None, patterns: Sequence[str]) -> bool:
    """Say whether an address is among ``patterns``, by its host or with its port."""
    if not patterns:
        return False
    return any(matches_any(spelling, tuple(patterns)) for spelling in address_spellings(host, port))


def may_be_listed(host: str, port: int | None, patterns: Sequence[str]) -> bool:
    """Say what ``is_listed`` says; where no port is known, whether it may say so for some port."""
    return is_listed(host, port, patterns if port is not None else tuple(map(without_port, patterns)))


def is_listed_provider(host: str, port: int | None, settings: Settings) -> bool:
    """Say whether the setting ``providers`` lists an address, that of this machine under any of its names."""
    listed = settings.providers
    if is_listed(host, port, listed):
        return True
    if not listed or not is_loopback(host):
        return False
    return any(is_listed(each, port, listed) for each in SPELLINGS_OF_LOOPBACK)


@lru_cache(maxsize=512)
def is_model_path(path: str) -> bool:
    """Say whether a path is one that model servers answer (``/v1/chat/completions``, ``/api/generate``, …)."""
    path = path.partition("?")[0].rstrip("/")
    return path.endswith(_USUAL_PATHS) or re.search(_MODEL_PATH, path) is not None


_ASKING_PATH = r"/v\d+/(?:chat|classify|complete|embed|generate|listen|speak|summarize|text-to-speech/[^/]+)$"
"""Further paths at which providers answer prompts."""

_NOT_ASKING = r"/(?:responses/.+|models(?:/[^/:]*)?|messages/batches(?:/.*)?|count_tokens)$"
"""Paths of model servers that answer no prompt: stored responses, lists of models, batch jobs, token counts."""


@lru_cache(maxsize=512)
def is_prompt(method: str, path: str) -> bool:
    """Say whether a request asks a model to answer a prompt, and does nothing else at the provider.

    That is False for files, stored answers, batches, fine-tuning and the like.
    """
    path = path.partition("?")[0].rstrip("/")
    if method.upper() != "POST" or re.search(_NOT_ASKING, path) is not None:
        return False
    return is_model_path(path) or re.search(_ASKING_PATH, path) is not None


def asks_model(host: str, port: int | None, path: str, settings: Settings) -> bool:
    """Whether a request is for a model: by its host, or by what it asks for there."""
    return is_provider(host, port, settings) or is_model_path(path)


def is_url_of_model(url: str, settings: Settings) -> bool:
    """Say what ``asks_model`` says of a URL, which need not name the usual port. Raises ``ValueError`` for no URL."""
    parts = urlsplit(url)
    port = DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    return asks_model(parts.hostname or "", port, parts.path, settings)


def is_provider(host: str, port: int | None, settings: Settings) -> bool:
    """Whether an address belongs to a model provider: a known one, a listed one, or that of the base URL in force."""
    if is_listed_provider(host, port, settings):
        return True
    if is_loopback(host):
        return False
    if is_listed(host, port, PROVIDERS):
        return True
    return settings.base_url is not None and normalize_host(host) == _host_of_base_url(settings.base_url)


@lru_cache(maxsize=16)
def _host_of_base_url(url: str) -> str | None:
    """Return the host in a base URL; None for a text that is no URL, which is an error only of calls that use it."""
    try:
        host = urlsplit(url).hostname
    except ValueError:  # such as brackets that do not close
        return None
    return None if host is None else normalize_host(host)
