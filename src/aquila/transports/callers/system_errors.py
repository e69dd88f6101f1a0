"""Turns the text of an ``OSError``, which may have been recorded on another system, into an error of this system.

Systems number errors differently: a refused connection is error 111 on Linux, 61 on macOS and 10061 on Windows. Python
derives the class of an ``OSError`` from the number on this system, so the number of another system gives a wrong class.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Mapping

_CONNECTIONS = {
    "EADDRNOTAVAIL": (99, 49, 10049),
    "ENETDOWN": (100, 50, 10050),
    "ENETUNREACH": (101, 51, 10051),
    "ECONNABORTED": (103, 53, 10053),
    "ECONNRESET": (104, 54, 10054),
    "ETIMEDOUT": (110, 60, 10060),
    "ECONNREFUSED": (111, 61, 10061),
    "EHOSTDOWN": (112, 64, 10064),
    "EHOSTUNREACH": (113, 65, 10065),
}
"""The errors of connections, with their numbers on Linux, macOS and Windows.

No number occurs twice. A number may have another meaning on another system, but there it is no error of a connection.
"""

_NAMES = {
    "EAI_NONAME": (-2, 8, 11001),
    "EAI_AGAIN": (-3, 2, 11002),
    "EAI_FAIL": (-4, 4, 11003),
    "EAI_NODATA": (-5, 7, 11004),
}
"""The errors of names that cannot be resolved, with their numbers on Linux, macOS and Windows."""

# The numbers of macOS are also those of other errors, so the words decide: those of Linux, macOS and Windows.
_OF_NAMES = re.compile(r"name resolution|nodename|servname|getaddrinfo|not known|hostname")
_NUMBERED = re.compile(r"\[(?:Errno|WinError) (-?\d+)\] (.*)", re.DOTALL)


def os_error_from_text(text: str) -> OSError:
    """Return the ``OSError`` in a text such as ``[Errno 111] Connection refused``, as this system raises it."""
    if is_of_tls(text):
        return (ssl.SSLCertVerificationError if "CERTIFICATE_VERIFY_FAILED" in text else ssl.SSLError)(1, text)
    found = _NUMBERED.search(text)
    if found is None:
        return ConnectionResetError(errno.ECONNRESET, text or "Connection reset by peer")
    number, words = int(found[1]), found[2]
    if number < 0 or _OF_NAMES.search(words):
        return socket.gaierror(_number_here(number, _NAMES, socket), words)
    return OSError(_number_here(number, _CONNECTIONS, errno), words)


def is_of_tls(text: str) -> bool:
    """Whether the text of an error is that of an ``SSLError``. Python ends most of them with a line of ``_ssl.c``."""
    return "[SSL" in text or "(_ssl.c:" in text


def _number_here(number: int, table: Mapping[str, tuple[int, ...]], constants: object) -> int:
    name = next((name for name, numbers in table.items() if number in numbers), "")
    return int(getattr(constants, name, number))
