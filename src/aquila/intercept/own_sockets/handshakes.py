"""TLS between a client and a listener that stands in for a provider, within one process.

The client's own context would verify the certificate of the provider. So another context replaces it, which trusts only
the certificate below. No other context trusts this certificate. Its private key is in this file, so it is no secret:
it can only be used against the contexts made here.
"""

from __future__ import annotations

import hashlib
import ssl
import weakref
from functools import cache
from pathlib import Path
from typing import Any

from aquila.temporary_folders import TemporaryFolder

_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmDCCAT6gAwIBAgIBATAKBggqhkjOPQQDAjAtMSswKQYDVQQDDCJhcXVpbGEs
IGluIHRoZSBwbGFjZSBvZiBhIHByb3ZpZGVyMCAXDTIwMDEwMTAwMDAwMFoYDzIx
MjAwMTAxMDAwMDAwWjAtMSswKQYDVQQDDCJhcXVpbGEsIGluIHRoZSBwbGFjZSBv
ZiBhIHByb3ZpZGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEorYrwrClHWFr
55zRcr2nPs1AnNZ/2beKGq+0fHxrx8vF20jRsCYZ08boCkxZhbGRKQtvISuoeuXI
NeYMdvRJZqNNMEswEgYDVR0TAQH/BAgwBgEB/wIBADA1BgNVHREELjAsgipyZWNv
cmQtdGhpcy1jbGllbnQuYnkuYXF1aWxhLXNlcnZlLmludmFsaWQwCgYIKoZIzj0E
AwIDSAAwRQIhAL5iW7IyVH5RXwdfNEt6MxLqvbSl+/z1pRIjg2HtfIN8AiA0HRV2
Gd6eYKUCrqBmXcxQz9clMgkKbUja5WfeDWeDwg==
-----END CERTIFICATE-----
"""
"""The certificate for the key of ``_make_key``, self-signed. Clients that check it themselves show its name."""

_PROTOCOL = ["http/1.1"]
_MARK = "trusts the stand-in of aquila"
"""A protocol of ALPN that nothing speaks. The contexts made here offer it, so ``trusts_certificate`` knows them."""


# By the context of the client, so that a handshake may resume an earlier one. An entry disappears with its key.
_client_contexts: weakref.WeakKeyDictionary[Any, ssl.SSLContext] = weakref.WeakKeyDictionary()


def client_context_for(original: Any) -> ssl.SSLContext:
    """Return the context that replaces ``original``, that of a client. Its sockets have the same classes."""
    if original not in _client_contexts:
        _client_contexts[original] = _make_client_context(original)
    return _client_contexts[original]


def _make_client_context(original: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=_CERTIFICATE)
    context.set_alpn_protocols([*_PROTOCOL, _MARK])
    context.sslsocket_class = original.sslsocket_class
    context.sslobject_class = original.sslobject_class
    return context


def trusts_certificate(hello: bytes) -> bool:
    """Whether the client uses a context made here. ``hello`` is the first message of its handshake."""
    return _MARK.encode() in hello


# Made once for the process, because it takes time. Connections only read it.
@cache
def server_context() -> ssl.SSLContext:
    """Return the context of the listeners."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(_PROTOCOL)
    with TemporaryFolder("certificate") as folder:
        file = Path(folder, "provider.pem")  # `ssl` reads a certificate with its key only from a file
        file.write_text(_CERTIFICATE + ssl.DER_cert_to_PEM_cert(_make_key()).replace("CERTIFICATE", "EC PRIVATE KEY"))
        context.load_cert_chain(file)
    return context


def _make_key() -> bytes:
    """Return the private key in the format of RFC 5915, on the curve P-256 (RFC 5480)."""
    number = hashlib.sha256(b"aquila: stands for a provider, within one process").digest()
    return b"\x30\x31\x02\x01\x01\x04\x20" + number + b"\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
