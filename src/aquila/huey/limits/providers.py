"""Which provider a host is, for rules that name one."""

from __future__ import annotations

from aquila.errors import ConfigError
from aquila.spelling import find_nearest
from aquila.wildcards import fits_pattern

PROVIDERS = {
    "anthropic": ("api.anthropic.com",),
    "azure": ("*.openai.azure.com", "*.services.ai.azure.com", "*.cognitiveservices.azure.com"),
    "bedrock": ("bedrock-runtime.*.amazonaws.com", "bedrock.*.amazonaws.com"),
    "cerebras": ("api.cerebras.ai",),
    "cohere": ("api.cohere.com", "api.cohere.ai"),
    "deepseek": ("api.deepseek.com",),
    "fireworks": ("api.fireworks.ai",),
    "google": ("generativelanguage.googleapis.com", "*aiplatform.googleapis.com"),
    "groq": ("api.groq.com",),
    "mistral": ("api.mistral.ai", "codestral.mistral.ai"),
    "openai": ("api.openai.com", "*.api.openai.com"),
    "openrouter": ("openrouter.ai",),
    "perplexity": ("api.perplexity.ai",),
    "together": ("api.together.xyz", "api.together.ai"),
    "xai": ("api.x.ai",),
}
"""Names of providers, and their hosts. Any other provider is named by its host."""


def check_provider(name: str) -> str:
    """Return the name of a provider as rules keep it: one of the table, a host, or ``*`` for all together.

    Raises ``ConfigError`` that says what a name may be.
    """
    name = name.lower()
    if name in PROVIDERS or name == "*" or (set(name) & set(".:") or name == "localhost"):
        return name
    near = find_nearest(name, PROVIDERS)
    raise ConfigError(
        f"no provider {name!r} is known{f'; did you mean {near!r}?' if near else '.'} Name one of "
        f"{', '.join(PROVIDERS)}, a host such as llm.example.com or localhost:8000, or * for all together"
    )


def is_host_of(host: str, provider: str) -> bool:
    """Say whether a host, with or without its port, is one of a provider's."""
    host, provider = host.lower(), provider.lower()
    patterns = PROVIDERS.get(provider, (provider,))
    alone = host.partition(":")[0]
    return any(fits_pattern(host, each) or fits_pattern(alone, each) for each in patterns)
