"""One spelling for each host, whatever a client writes. Pure: nothing is resolved."""

from __future__ import annotations

import re
import socket
from functools import lru_cache

_IPV4_IN_IPV6 = bytes(10) + b"\xff\xff"
"""The beginning of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2)."""


# The caches here hold results of pure functions: the guard asks at every connection and every resolved name.
@lru_cache(maxsize=1024)
def normalize_host(host: str) -> str:
    """Return the spelling of a host that all its other spellings share.

    A name becomes what it is resolved as: ASCII, in lower case, without a dot at its end. An IPv4 address becomes four
    decimal numbers, however it was written, also where it stands in an IPv6 address. An IPv6 address becomes short,
    without brackets and zone.
    """
    host = host.strip("[]")
    if not host.isascii():
        host = _to_ascii(host)
    host = host.lower().rstrip(".")
    if ":" in host:
        return _normalize_ipv6(host.partition("%")[0])
    if host.rpartition(".")[2][:1].isdigit():  # the last part of a name never begins with a digit
        return _normalize_ipv4(host)
    return host


def _to_ascii(host: str) -> str:
    """Return a name as the resolver gets it: IDNA maps full-width letters, other dots and invisible characters."""
    try:
        return host.encode("idna").decode("ascii")
    # Python's codec follows IDNA 2003 and refuses names that clients with newer rules resolve. These are at least
    # mapped in one way, so that two spellings compare equal.
    except UnicodeError:
        import unicodedata  # noqa: PLC0415 - for such names alone

        return re.sub("[\u3002\uff0e\uff61]", ".", unicodedata.normalize("NFKC", host)).casefold()


def _normalize_ipv4(host: str) -> str:
    try:
        packed = socket.inet_aton(host)  # it reads decimal, octal, hexadecimal, and fewer than four parts
    except (OSError, ValueError):  # `ValueError` for a null character
        return host
    return socket.inet_ntoa(packed)


def _normalize_ipv6(host: str) -> str:
    try:
        packed = socket.inet_pton(socket.AF_INET6, host)
    except (OSError, ValueError):
        return host
    if packed.startswith(_IPV4_IN_IPV6):
        return socket.inet_ntoa(packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
"""The port of a URL that names none, by its scheme."""

_HOST_WITH_PORT = r"(\[.*\]|[^:]*):(\d+)"


# The guard asks about a host at every request and connection. The caches here go by the texts alone, and no name is
# resolved, so no entry goes out of date.
@lru_cache(maxsize=256)
def normalize_pattern(pattern: str) -> str:
    """Return a pattern of hosts (``*`` for any characters, maybe with a port) in the spelling of ``normalize_host``."""
    host, port = pattern, ""
    if (parts := re.fullmatch(_HOST_WITH_PORT, pattern)) is not None:
        host, port = parts[1], f":{parts[2]}"
    return (host.lower().rstrip(".") if "*" in host else normalize_host(host)) + port


def without_port(pattern: str) -> str:
    """Return a pattern of hosts without the port that it may name."""
    parts = re.fullmatch(_HOST_WITH_PORT, pattern)
    return pattern if parts is None else parts[1]


ANY_ADDRESS = ("0.0.0.0", "::", "")
"""Wildcard addresses. A server that listens on one can be reached from other machines; connecting to one reaches this
machine."""


@lru_cache(maxsize=512)
def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, by its name or address. Nothing is resolved."""
    host = normalize_host(host)
    if host in ("localhost", "::1", *ANY_ADDRESS) or host.endswith(".localhost"):
        return True
    return re.fullmatch(r"127(?:\.\d{1,3}){3}", host) is not None


def is_own_name(host: str) -> bool:
    """Say whether a host is this machine by the name that it was given. Programs look it up for their address."""
    return normalize_host(host) == normalize_host(socket.gethostname())


SPELLINGS_OF_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
"""Names under which all servers of this machine can be reached. Only the port tells one server from another."""
