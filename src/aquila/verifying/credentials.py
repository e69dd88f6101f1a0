"""Puts the machine's keys into requests before they are sent, in the place of dummies and made-up keys.

In a run that verifies, each variable holds a dummy that names the variable. For any other key in a request, the host
tells which provider's key is needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.environment_secrets import environment_secrets
from aquila.cassettes.redaction.request_headers import is_secret_header
from aquila.intercept.provider_keys import PROVIDER_KEYS
from aquila.recording import runtime
from aquila.recording.environment import DUMMY_KEY
from aquila.recording.network.host_names import is_loopback
from aquila.recording.network.model_hosts import provider_of

_DUMMY = re.compile(rf"(?:([A-Za-z_]\w*)\.)?\w*{DUMMY_KEY}")
_BY_HEADER: Mapping[str, tuple[str, ...]] = {
    "authorization": ("OPENAI_API_KEY",),
    "x-api-key": ("ANTHROPIC_API_KEY",),
    "x-goog-api-key": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "api-key": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
}
"""The variables of a header field's key, if neither the dummy nor the host names one, as with a provider's proxy."""

_HEADER_OF: Mapping[str, tuple[str, str]] = {
    "ANTHROPIC_API_KEY": ("x-api-key", ""),
    "GOOGLE_API_KEY": ("x-goog-api-key", ""),
    "AZURE_OPENAI_API_KEY": ("api-key", ""),
    "DEEPGRAM_API_KEY": ("authorization", "Token "),
    "ELEVENLABS_API_KEY": ("xi-api-key", ""),
}
"""The header field of a key, and what precedes it, by the first variable of its provider. All others use a bearer."""


class KeyNotSet(Exception):
    """A request needs a key that the machine does not have. The text names the variable."""


class SignedRequest(Exception):
    """A request cannot be sent again because it is signed: a signature of AWS holds only for that request and time."""


class VerifyingKeys(NamedTuple):
    """The keys of the machine, by variable, and the dummies that the settings give to clients instead."""

    keys: Mapping[str, str]
    dummies: Mapping[str, str]
    """The dummies that the project defines, each with its variable."""

    def __repr__(self) -> str:
        return f"<VerifyingKeys: {len(self.keys)} variables>"  # the values are secrets


def read_machine(dummy_keys: Sequence[str]) -> VerifyingKeys:
    """Return the keys of this machine. ``dummy_keys`` is the setting of that name, rows such as ``NAME=dummy``."""
    hidden = runtime.machine_keys().hidden
    keys = {name: hidden.get(name, value) for name, value in os.environ.items()}
    pairs = (word.partition("=") for word in dummy_keys if "=" in word)
    dummies = {value: name for name, _, value in pairs}
    return VerifyingKeys(
        {name: value for name, value in keys.items() if value and DUMMY_KEY not in value and value not in dummies},
        dummies,
    )


def variables_of_host(host: str) -> tuple[str, ...]:
    """Return the variables from which clients take the key for a host; none if it is no known provider's."""
    named = provider_of(host)
    # The key of Hugging Face gives access to other things than models, so it is none of the table.
    return ("HF_TOKEN",) if named == "huggingface" else PROVIDER_KEYS.get(named or "", ())


def with_keys(
    request: RecordedRequest, machine: VerifyingKeys, *, needs_key: bool, is_stored: bool = False
) -> RecordedRequest:
    """Return a request with the machine's keys. ``needs_key``: the upstream refuses requests without a key.

    ``is_stored``: it comes from the recording, which holds no credentials. Raises ``KeyNotSet`` or ``SignedRequest``.
    """
    host = urlsplit(request.url).hostname or ""
    if request.first_header("authorization").startswith("AWS4-"):
        raise SignedRequest("it is signed for AWS with a key that the run hides")
    needs_key = needs_key and not is_loopback(host)
    # Only a known provider gets a key that no dummy in the request asked for.
    own = variables_of_host(host)

    def find_key(variables: Sequence[str], present: str) -> str:
        found = next((machine.keys[name] for name in variables if name in machine.keys), None)
        if found is None and needs_key:
            raise KeyNotSet(f"no key: {' or '.join(variables) or 'its variable'} is not set")
        return present if found is None else found

    known = environment_secrets(machine.keys)
    headers = tuple(
        (name, _put_key(name, value, own, machine, known, find_key) if is_secret_header(name) else value)
        for name, value in request.headers
    )
    if is_stored and own and needs_key:
        headers = (*headers, _credential_field(own, find_key(own, "")))
    url = _put_into_text(request.url, own, find_key)
    body = request.body
    if DUMMY_KEY.encode() in body:
        # ``surrogateescape`` returns the bytes of a body that is not text unchanged.
        body = _put_into_text(body.decode("utf-8", "surrogateescape"), own, find_key).encode("utf-8", "surrogateescape")
    return RecordedRequest(request.method, url, headers, body)


def _credential_field(own: Sequence[str], key: str) -> tuple[str, str]:
    """Return the header field with a key for a recorded request, because the recording holds no credentials."""
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
    # A key that a test made up. It is replaced by the provider's key if the machine has one, and else sent as it is.
    key = next((machine.keys[variable] for variable in own if variable in machine.keys), None)
    scheme, space, _ = value.rpartition(" ")
    return value if key is None else scheme + space + key


def _put_into_text(text: str, own: Sequence[str], find_key: Callable[[Sequence[str], str], str]) -> str:
    if DUMMY_KEY not in text:
        return text
    return _DUMMY.sub(lambda found: find_key((found[1],) if found[1] else own, found[0]), text)
