"""Decides which clients the server answers. Pure: it looks only at the header fields of a request.

Any web page that is open in a browser on this machine can send requests to the server. A browser reports which page
sent them (``Origin``, ``Sec-Fetch-Site``), and the host name of the URL (``Host``). A page whose own host name points
to this address (DNS rebinding) cannot change that name. Other programs do not send the first two fields.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from aquila.errors import ConfigError
from aquila.recording.network.host_names import ANY_ADDRESS, is_loopback, normalize_host
from aquila.transports.callers.failures import TOKEN_HEADER, Failure
from aquila.transports.callers.proxy import keys_shown_by

_SHOWN = 80
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of admission. A client that shows ``token`` may use the server's own API key; with ``needs_token`` no
    other client is answered.

    ``hosts``: further names, in lower case and without a port, under which clients may reach the server, besides the
    loopback names.
    """

    token: str = field(repr=False)
    needs_token: bool = False
    hosts: frozenset[str] = frozenset()

    def find_rejection(self, headers: Headers) -> Failure | None:
        """Return why a request is not admitted, or None. The token is not checked here."""
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return Failure(400, "invalid_request", f"a request has one Host field; this one has {len(hosts)}")
        name = _host_of(hosts[0])
        if not self._is_own_name(name):
            return Failure(
                403,
                "foreign_host",
                f"this server does not answer to the name {_shorten(name)!r}, which any web page could use; if clients "
                f"need it, start the server with --allow-host {_shorten(name)}",
            )
        if any(not _is_origin_of(origin, hosts[0]) for origin in headers.getlist("origin")):
            origin = _shorten(headers["origin"])
            return Failure(403, "foreign_page", f"a web page of {origin} sent this; only programs are answered")
        sites = [site.strip().lower() for site in headers.getlist("sec-fetch-site")]
        if any(site not in ("same-origin", "none") for site in sites):
            return Failure(
                403, "foreign_page", f"a web page sent this ({_shorten(sites[0])}); only programs are answered"
            )
        return None

    def is_shown(self, headers: Headers, target: str = "") -> bool:
        """Whether a request shows the token, as an API key or in the token's own header field.

        ``target`` is its path with the query.
        """
        given = [*headers.getlist(TOKEN_HEADER), *keys_shown_by(target, headers.items())]
        # At the end of the key, because some clients insist on their provider's prefix, such as ``hf_``.
        ends = [one[-len(self.token) :] for one in given]
        # In constant time, so that the duration does not reveal how much of a guess was right.
        return any(hmac.compare_digest(end.encode(), self.token.encode()) for end in ends)

    def _is_own_name(self, name: str) -> bool:
        if name in self.hosts:
            return True
        if re.fullmatch(r"[a-z0-9.:_-]+", name) is None:
            return False
        # Browsers treat 0.0.0.0 as this machine, too, but do not mark requests to it, so a page could use it. Clients
        # write names in their normal form; another spelling of an address is an attempt to get past this check.
        return name == normalize_host(name) and is_loopback(name) and name not in ANY_ADDRESS


def check_token(token: str, *, is_open: bool, source: str) -> None:
    """Raise ``ConfigError`` for a user's token that no header field can carry, or that is too short.

    ``is_open``: other machines can reach the server. ``source`` names the origin of the token in messages.
    """
    if re.fullmatch(r"[!-~]+", token) is None:
        raise ConfigError(f"{source} may have letters, digits and punctuation, and no spaces")
    if is_open and len(token) < _SHORTEST_TOKEN:
        raise ConfigError(f"{source} is too short to keep strangers out: use {_SHORTEST_TOKEN} characters")


def make_token() -> str:
    """Return a new token that nobody can guess."""
    return f"aquila-token-{secrets.token_hex(16)}"


def read_host_names(names: Iterable[str]) -> frozenset[str]:
    """Return the values of ``--allow-host`` in the form of ``Admission.hosts``. Raises ``ConfigError``."""
    read = set()
    for name in names:
        host = _host_of(name)
        if not host or re.search(r"[\s/@*?#\\]", name):
            raise ConfigError(f"{name!r} is not the name of a host, such as host.docker.internal")
        read.add(host)
    return frozenset(read)


def _host_of(value: str) -> str:
    """Return the name in a Host field: in lower case, without port, brackets and final dot."""
    value = value.strip().lower()
    if value.startswith("["):
        name, bracket, port = value[1:].partition("]")
        return name if bracket and re.fullmatch(r"(?::\d*)?", port) else value
    if value.count(":") > 1:  # an IPv6 address, as command lines have it
        return value
    name, _, port = value.partition(":")
    return name.rstrip(".") if re.fullmatch(r"\d*", port) else value


def _is_origin_of(origin: str, host: str) -> bool:
    """Whether an Origin is that of the server's own pages. ``null`` is not: any sandboxed page can have it."""
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host.strip().lower()


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
