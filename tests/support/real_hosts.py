"""Real host names over TLS, such as ``api.openai.com``, that lead to a server on loopback.

::

    with real_hosts("api.openai.com", script=lambda path, body: streamed("one two")) as provider:
        openai.OpenAI(api_key="x").chat.completions.create(...)
        assert provider.requests

The names are mapped below Aquila's guard. A certificate authority, made for the run, signs the certificates. Both hold
for every client in this process, in inner pytest runs and in Python child processes. Every port of a mapped name leads
to the server.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import ssl
import sys
import tempfile
import urllib.request  # noqa: F401 - so that its opener can be set aside below
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

from tests.support.names import mapped
from tests.support.upstream import Script, Upstream, upstream

_SITE = str(Path(mapped.__file__).parent)
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "HTTPLIB2_CA_CERTS")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@functools.cache
def authority() -> trustme.CA:
    """The certificate authority of this run."""
    return trustme.CA()


@contextlib.contextmanager
def real_hosts(*hosts: str, script: Script) -> Iterator[Upstream]:
    """Serve these hosts over TLS until the block ends. ``script(path, body)`` returns the response to each request.

    Yields the server. Its ``url`` is that of the first host.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*hosts).configure_cert(context)
    with upstream(script, tls=context) as server:
        port = int(server.url.rpartition(":")[2])
        server.url = f"https://{hosts[0]}"
        with reachable(dict.fromkeys(hosts, port)):
            yield server


@contextlib.contextmanager
def reachable(ports: dict[str, int]) -> Iterator[None]:
    """Map each host name to the loopback port of its server, and trust the authority, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="aquila-authority-") as folder:
        bundle = str(Path(folder, "authority.pem"))
        authority().cert_pem.write_to_path(bundle)
        path = os.environ.get("PYTHONPATH")
        variables: dict[str, str | None] = {
            mapped.VARIABLE: json.dumps(ports),
            # At the end: Aquila's own sitecustomize runs the next one, but this one does not.
            "PYTHONPATH": os.pathsep.join((path, _SITE)) if path else _SITE,
            **dict.fromkeys(_CERTIFICATES, bundle),
            **dict.fromkeys(_PROXIES),
        }
        with _environment(variables), _trusted_by_what_is_loaded(bundle):
            undo = mapped.map_names(ports)
            try:
                yield
            finally:
                undo()


@contextlib.contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _trusted_by_what_is_loaded(bundle: str) -> Iterator[None]:
    """Make libraries that have read their authorities already, and Aquila's own connections, trust ``bundle``."""
    replaced: list[tuple[Any, str, Any]] = []
    for module, name, value in (
        ("aiohttp.connector", "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=bundle)),
        ("httplib2", "CA_CERTS", bundle),
        ("urllib.request", "_opener", None),  # the first `urlopen` makes it, with the authorities of that moment
    ):
        if module in sys.modules:
            replaced.append((sys.modules[module], name, getattr(sys.modules[module], name)))
            setattr(sys.modules[module], name, value)
    connections = _put_connections(None)
    try:
        yield
    finally:
        for owner, name, before in replaced:
            setattr(owner, name, before)
        _put_connections(connections)


def _put_connections(made: dict[str, Any] | None) -> dict[str, Any]:
    """Replace the connections of Aquila's live transport, by none for ``None``, and return the former ones.

    The former connections must not be closed: they may belong to event loops of other tests.
    """
    upstreams: Any = sys.modules.get("aquila.transports.upstreams")
    if upstreams is None:
        return {}
    live = upstreams.find_upstream("live")
    before: dict[str, Any] = live._made
    live._made = dict(made or {})
    return before
