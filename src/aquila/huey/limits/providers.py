"""The providers that rules name: words of the table of model hosts, or hosts."""

from __future__ import annotations

from aquila.errors import ConfigError
from aquila.recording.network.model_hosts import PROVIDER_HOSTS
from aquila.spelling import find_nearest
from aquila.wildcards import fits_pattern


def check_provider(name: str) -> str:
    """Return the name of a provider as rules keep it: one of the table, a host, or ``*`` for all together.

    Raises ``ConfigError`` that says what a name may be.
    """
    name = name.lower()
    if name in PROVIDER_HOSTS or name == "*" or (set(name) & set(".:") or name == "localhost"):
        return name
    near = find_nearest(name, PROVIDER_HOSTS)
    raise ConfigError(
        f"no provider {name!r} is known{f'; did you mean {near!r}?' if near else '.'} Name one of "
        f"{', '.join(PROVIDER_HOSTS)}, a host such as llm.example.com or localhost:8000, or * for all together"
    )


def is_host_of(host: str, provider: str) -> bool:
    """Say whether a host, with or without its port, is one of a provider's."""
    host, provider = host.lower(), provider.lower()
    patterns = PROVIDER_HOSTS.get(provider, (provider,))
    alone = host.partition(":")[0]
    return any(fits_pattern(host, each) or fits_pattern(alone, each) for each in patterns)
