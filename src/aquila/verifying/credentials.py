"""Puts the machine's keys into requests that are to be sent, where a dummy stands for one, or a test's own.

A run that verifies shows a dummy for each variable that says which it is. Where a request holds another one, its host
tells whose key it needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.environment_secrets import environment_secrets
from aquila.cassettes.redaction.header_allowlist import is_credential_header
from aquila.config import DUMMY_KEY
from aquila.intercept.provider_keys import variables_of_host
from aquila.recording import runtime
from aquila.recording.network.host_names import is_loopback
from aquila.recording.network.model_hosts import PROVIDERS, matches_any

_DUMMY = re.compile(rf"(?:([A-Za-z_]\w*)\.)?\w*{DUMMY_KEY}")
_BY_HEADER: Mapping[str, tuple[str, ...]] = {
    "authorization": ("OPENAI_API_KEY",),
    "x-api-key": ("ANTHROPIC_API_KEY",),
    "x-goog-api-key": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "api-key": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
}
"""Whose key a header field has, where neither a dummy nor the host says it: of a proxy that speaks for a provider."""

_HEADER_OF: Mapping[str, tuple[str, str]] = {
    "ANTHROPIC_API_KEY": ("x-api-key", ""),
    "GOOGLE_API_KEY": ("x-goog-api-key", ""),
    "AZURE_OPENAI_API_KEY": ("api-key", ""),
    "DEEPGRAM_API_KEY": ("authorization", "Token "),
    "ELEVENLABS_API_KEY": ("xi-api-key", ""),
}
"""Where a key goes by the first variable of its provider; that of all others is a bearer token."""


class KeyNotSet(Exception):
    """A request needs a key that the machine does not have. Its text names the variable."""


class Unsigned(Exception):
    """A request cannot be sent again because it is signed."""


class VerifyingKeys(NamedTuple):
    """The keys of the machine, by variable, and what the settings give clients in their place."""

    keys: Mapping[str, str]
    dummies: Mapping[str, str]
    """Dummies of the project's own, each with its variable."""

    def __repr__(self) -> str:
        return f"<Machine: {len(self.keys)} variables>"


def read_machine(dummy_keys: Sequence[str]) -> VerifyingKeys:
    """Return the keys of this machine. ``dummy_keys`` is the setting."""
    hidden = runtime.machine_keys().hidden
    keys = {name: hidden.get(name, value) for name, value in os.environ.items()}
    pairs = (word.partition("=") for word in dummy_keys if "=" in word)
    dummies = {value: name for name, _, value in pairs}
    return VerifyingKeys(
        {name: value for name, value in keys.items() if value and DUMMY_KEY not in value and value not in dummies},
        dummies,
    )


def with_keys(
    request: RecordedRequest, machine: VerifyingKeys, *, needs_key: bool, is_stored: bool = False
) -> RecordedRequest:
    """Return a request with the machine's keys. ``needs_key``: the upstream takes none without.

    ``is_stored``: it is that of the recording, which has no credentials. Raises ``KeyNotSet`` or ``Unsigned``.
    """
    host = urlsplit(request.url).hostname or ""
    if request.first_header("authorization").startswith("AWS4-"):
        raise Unsigned("it is signed for AWS with a key that the run hides")
    needs_key = needs_key and not is_loopback(host)
    own = variables_of_host(host) if matches_any(host, PROVIDERS) else ()  # a key goes to nobody else by itself

    def find_key(variables: Sequence[str], stands: str) -> str:
        found = next((machine.keys[name] for name in variables if name in machine.keys), None)
        if found is None and needs_key:
            raise KeyNotSet(f"no key: {' or '.join(variables) or 'its variable'} is not set")
        return stands if found is None else found

    known = environment_secrets(machine.keys)
    headers = tuple(
        (name, _put_key(name, value, own, machine, known, find_key) if is_credential_header(name) else value)
        for name, value in request.headers
    )
    if is_stored and own and needs_key:
        headers = (*headers, _credential_field(own, find_key(own, "")))
    url = _put_into_text(request.url, own, find_key)
    body = request.body
    if DUMMY_KEY.encode() in body:
        body = _put_into_text(body.decode("utf-8", "surrogateescape"), own, find_key).encode("utf-8", "surrogateescape")
    return RecordedRequest(request.method, url, headers, body)


def _credential_field(own: Sequence[str], key: str) -> tuple[str, str]:
    """The header field of a key, for a request of a recording, which has none."""
    header, before = _HEADER_OF.get(own[0], ("authorization", "Bearer "))
    return header, before + key


def _put_key(
    name: str,
    value: str,
    own: Sequence[str],
    machine: VerifyingKeys,
    known: Mapping[str, str],
    find_key: Callable[[Sequence[str], str], str],
) -> str:
    for dummy, variable in machine.dummies.items():
        if dummy and dummy in value:
            return value.replace(dummy, find_key((variable,), dummy))
    if DUMMY_KEY in value:
        return _put_into_text(value, own or _BY_HEADER.get(name, ()), find_key)
    if not own or name == "cookie" or any(secret in value for secret in known):
        return value
    # A key that a test made up. Only that of the provider itself takes its place, if the machine has it.
    key = next((machine.keys[variable] for variable in own if variable in machine.keys), None)
    scheme, space, _ = value.rpartition(" ")
    return value if key is None else scheme + space + key


def _put_into_text(text: str, own: Sequence[str], find_key: Callable[[Sequence[str], str], str]) -> str:
    if DUMMY_KEY not in text:
        return text
    return _DUMMY.sub(lambda found: find_key((found[1],) if found[1] else own, found[0]), text)
