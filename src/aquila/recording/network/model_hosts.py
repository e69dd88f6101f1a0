"""Which hosts and paths are for a model: the table of providers, and functions that look addresses up in it. Pure.

``aquila.intercept.provider_keys`` has the variables from which clients read the keys of these providers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
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

PROVIDER_HOSTS: Mapping[str, tuple[str, ...]] = {
    "ai21": ("api.ai21.com",),
    "anthropic": ("api.anthropic.com",),
    "assemblyai": ("*.assemblyai.com",),
    "azure": ("*.openai.azure.com", "*.ai.azure.com", "*.cognitiveservices.azure.com"),
    "azure-speech": ("*.speech.microsoft.com",),
    "baseten": ("inference.baseten.co",),
    "bedrock": ("bedrock-runtime.*.amazonaws.com", "bedrock.*.amazonaws.com", "bedrock-agent-runtime.*.amazonaws.com"),
    "cartesia": ("api.cartesia.ai",),
    "cerebras": ("api.cerebras.ai",),
    "cloudflare": ("gateway.ai.cloudflare.com",),
    "cohere": ("api.cohere.com", "api.cohere.ai"),
    "dashscope": ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"),
    "deepgram": ("api.deepgram.com", "agent.deepgram.com"),
    "deepinfra": ("api.deepinfra.com",),
    "deepseek": ("api.deepseek.com",),
    "elevenlabs": ("api.elevenlabs.io", "api.*.elevenlabs.io"),
    "fal": ("fal.run", "*.fal.run"),
    "fireworks": ("api.fireworks.ai",),
    "github": ("models.github.ai", "api.githubcopilot.com"),
    "google": (
        "generativelanguage.googleapis.com",
        "aiplatform.googleapis.com",
        "*-aiplatform.googleapis.com",
        "*.aiplatform.googleapis.com",
        "speech.googleapis.com",
        "*-speech.googleapis.com",
        "texttospeech.googleapis.com",
        "*-texttospeech.googleapis.com",
    ),
    "groq": ("api.groq.com",),
    "huggingface": ("router.huggingface.co", "api-inference.huggingface.co", "*.endpoints.huggingface.cloud"),
    "hyperbolic": ("api.hyperbolic.xyz",),
    "inception": ("api.inceptionlabs.ai",),
    "jina": ("api.jina.ai",),
    "letta": ("api.letta.com",),
    "minimax": ("api.minimax.io", "api.minimax.chat", "api.minimaxi.com"),
    "mistral": ("api.mistral.ai", "api.*.mistral.ai", "codestral.mistral.ai"),
    "moonshot": ("api.moonshot.ai", "api.moonshot.cn"),
    "nebius": ("api.tokenfactory.nebius.com", "api.studio.nebius.com", "api.nebius.com"),
    "nomic": ("api-atlas.nomic.ai",),
    "novita": ("api.novita.ai",),
    "nvidia": ("integrate.api.nvidia.com",),
    "ollama-cloud": ("ollama.com",),  # not `ollama`: a limit for that would be meant for the one of the machine
    "openai": ("api.openai.com", "*.api.openai.com"),
    "openrouter": ("openrouter.ai",),
    "perplexity": ("api.perplexity.ai",),
    "portkey": ("api.portkey.ai",),
    "reka": ("api.reka.ai",),
    "replicate": ("api.replicate.com", "stream.replicate.com"),
    "requesty": ("router.requesty.ai",),
    "sagemaker": ("runtime.sagemaker.*.amazonaws.com",),
    "sambanova": ("api.sambanova.ai",),
    "scaleway": ("api.scaleway.ai",),
    "siliconflow": ("api.siliconflow.com", "api.siliconflow.cn"),
    "stability": ("api.stability.ai",),
    "together": ("api.together.xyz", "api.together.ai", "api-inference.together.ai"),
    "upstage": ("api.upstage.ai",),
    "vercel": ("ai-gateway.vercel.sh",),
    "volcengine": ("ark.*.volces.com",),
    "voyage": ("api.voyageai.com",),
    "watsonx": ("*.ml.cloud.ibm.com",),
    "writer": ("api.writer.com",),
    "xai": ("api.x.ai", "*.api.x.ai"),
    "zhipu": ("api.z.ai", "open.bigmodel.cn"),
}
"""The hosts of each provider, with ``*`` for any characters. Limits of a queue (``openai: 60/min``) use these names."""

MODEL_HOSTS = tuple(itertools.chain.from_iterable(PROVIDER_HOSTS.values()))
"""The hosts of all providers."""

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


@lru_cache(maxsize=64)
def provider_of(host: str) -> str | None:
    """Return the name in ``PROVIDER_HOSTS`` of the provider to which a host belongs; None if it is not known."""
    of = (name for name, patterns in PROVIDER_HOSTS.items() if any(fits_pattern(host, each) for each in patterns))
    return next(of, None)


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
    if is_listed(host, port, MODEL_HOSTS):
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
