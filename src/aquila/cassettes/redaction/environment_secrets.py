"""Finds the secrets of an environment: by the names of its variables, and in values that hold several things.

This is a module of its own because every run needs the list of secrets, but few replays search bodies for them.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aquila.cassettes.redaction.trivial_values import is_trivial, words_of
from aquila.lazy_patterns import lazy_pattern

if TYPE_CHECKING:
    from typing import Protocol

    class WatchedVariables(Protocol):
        """Notes the variables that are set in an ``environment``, mostly ``os.environ``."""

        count: int
        """How often a variable was set."""

        @property
        def environment(self) -> Mapping[str, str]: ...

    class LaterSecrets(Protocol):
        """Finds the secrets that come up while a redactor is in use."""

        position: int
        """The count of variables at which ``find_since`` begins."""

        @property
        def variables(self) -> WatchedVariables:
            """The variables among which it looks. While their count and ``os.environ`` are unchanged, there is no new
            secret."""

        def find_since(self, position: int) -> Mapping[str, str]:
            """Return the secrets that were set since the count was ``position``, each with its kind."""


_WORD = lazy_pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_SECRET = words_of(
    "APIKEY APIKEYS CREDENTIAL CREDENTIALS CREDS KEY KEYS PASSCODE PASSPHRASE PASSWD PASSWORD PASSWORDS SECRET "
    "SECRETS TOKEN TOKENS"
)
"""Words that mark a secret wherever they stand in a name: ``TOKEN_GITHUB``, ``OPENAI_KEY_DEV``."""

_SECRET_END = lazy_pattern(r"(?:API|AUTH|ACCESS|SECRET|PRIVATE)KEYS?|.*(?:PASSWORD|PASSWD|SECRET|TOKEN)")
"""The same for words that are written together: ``PGPASSWORD``."""

_SECRET_AT_END = words_of("AUTH BEARER CONNSTR COOKIE COOKIES DSN JWT PASS PAT PWD SALT WEBHOOK WEBHOOKS")
"""Words that mark a secret at the end of a name, or before words of ``_PLACES``: ``DB_PASS_DEV``."""

_PLACES = words_of(
    "A ADMIN APP B BACKUP BOT CI DEV DEVELOPMENT EU GITHUB LIVE LOCAL MAIN NEW OLD PRIMARY PROD PRODUCTION READ "
    "READONLY RO ROOT RW SANDBOX SECONDARY STAGE STAGING TEST TESTING URL US USER WRITE X"
)
"""Words at the end of a name that say for which stage, account or region a secret is."""

_ABOUT = words_of(
    "AGE ALG ALGO ALGORITHM ARN AUDIENCE BACKEND BUDGET BYTES CLASS CMD COLUMN COMMAND COUNT DAYS DIR DIRECTORY "
    "DISABLED DOMAIN EMAIL ENABLED ENCODING ENDPOINT EXPIRATION EXPIRES EXPIRY FIELD FILE FINGERPRINT FOLDER "
    "FORMAT HEADER HELPER HOST HOURS ID IDS ISSUER LEN LENGTH LIFETIME LIMIT METHOD MINUTES MODE NAME NAMES "
    "PARALLELISM PATH POLICY PORT PREFIX PROGRAM PROVIDER RATE REALM REGION REQUIRED RING ROTATION SCOPE SCOPES "
    "SECONDS SERVER SERVICE SIZE SOCK SOCKET SOURCE STORE STRATEGY SUFFIX TIMEOUT TTL TYPE URI URL VERSION "
    "USERNAME"
)
"""Last words of names that say something about a secret, or where it is: ``TOKEN_URL``, ``KEY_FILE``."""

# Words before KEY whose keys are no secrets (PRIMARY_KEY), and words beside TOKEN in counts and limits (MAX_TOKENS).
_NO_SECRET_KEY = words_of("CACHE COMPOSE FOREIGN GROUP OBJECT PARTITION PRIMARY PUBLIC PUBLISHABLE ROUTING SORT")
_NO_SECRET_TOKENS = words_of("COUNT INPUT LIMIT MAX MIN NUM OUTPUT PER TOTAL")

_URL_USERINFO = lazy_pattern(r"://([^\s/?#]*)@")
_PAIR = lazy_pattern(
    r"(?i)(?<![a-z])(?:password|passwd|pwd|(?:account|shared_?access|access|api[_-]?|secret)_?key|(?:client_)?secret|token)"
    r"\s?=\s?([^;&\s'\"]+)"
)
_PATH = lazy_pattern(r"(?:~|\.{1,2}|[A-Za-z]:)?[\\/].*\.[A-Za-z0-9]{2,5}")
_BLANK_LINE = lazy_pattern(r"\n[ \t\r]*\n")
_PEM_LINES = lazy_pattern(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY[A-Z ]{0,40}-----([^-]+)-----END")


def environment_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of an environment, each with the kind by which findings name it, ``value of OPENAI_API_KEY``.

    ``environ`` maps names of variables to their values. Values that are short or ordinary words are left out.
    """
    found: dict[str, str] = {}
    for name, text in environ.items():
        for value in map(str.strip, _secrets_in(name, text)):
            if not is_trivial(value):
                found.setdefault(value, f"value of {name}")
    return found


def _secrets_in(name: str, text: str) -> Iterator[str]:
    """Yield what may be a secret in the value of a variable: the whole value, and parts of it."""
    document = _parse_json(text)
    if document is not None:
        yield from _in_json(name, document)
        if isinstance(document, list) and all(type(item) is int for item in document) and _names_a_secret(name):
            yield text  # The bytes of a key, as tools for wallets write one.
    else:
        if _names_a_secret(name):
            yield from _in_named_value(name, text)
        if "PRIVATE KEY" in text:
            yield from _in_pem(text)
    if "://" in text:
        yield from _in_urls(text)
    if "=" in text:
        yield from _PAIR.findall(text)


def _in_named_value(name: str, text: str) -> Iterator[str]:
    text = text.strip()
    if text.startswith(("http://", "https://")) and not re.search("WEBHOOK|DSN", name, re.IGNORECASE):
        return
    if len(text) < 4096 and _PATH.fullmatch(text):
        return
    yield text
    yield text.strip("\"'")
    scheme, _, rest = text.partition(" ")
    if rest and scheme.isalpha():  # Bearer …
        yield rest
    if re.search("S(?:_|$)", name, re.IGNORECASE) and re.search("[,;]", text):
        yield from re.split("[,;]", text)
    if text.startswith(("eyJ", "ewo", "ewA", "eyA")) and "." not in text:  # JSON in base64
        with suppress(ValueError):
            yield from _in_json(name, _parse_json(binascii.a2b_base64(text).decode()))


def _in_urls(text: str) -> Iterator[str]:
    for userinfo in _URL_USERINFO.findall(text):
        user, _, password = userinfo.partition(":")
        if not password and (len(user) < 16 or not any(map(str.isdigit, user))):
            continue  # the name of a user; a longer text with digits may be a token in its place
        yield password or user
        yield unquote(password or user)


def _in_pem(text: str) -> Iterator[str]:
    plain = text.replace("\\n", "\n")
    yield text
    yield plain
    for content in _PEM_LINES.findall(plain):
        lines = _BLANK_LINE.split(content.strip())[-1].split()  # before a blank line are words, such as `Version:`
        yield "".join(lines)
        yield from lines  # a report may put a mark, a quote or an escape between any two lines


def _parse_json(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the object or list that a text in JSON is; None for any other text, such as a password."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        # Not strict: shells and files of variables may have put line breaks in the place of the escapes of a key.
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _in_json(name: str, document: Any) -> Iterator[str]:
    """Yield the secrets in JSON by the names of their fields, such as the private key of a service account.

    The items of a list have the name of the list. ``name`` is that of the whole document. JSON in strings is read, too.
    """
    open_values = [(name, document)]
    while open_values:
        name, value = open_values.pop()
        if isinstance(value, dict):
            open_values += value.items()
        elif isinstance(value, list):
            open_values += [(name, item) for item in value]
        elif isinstance(value, str):
            inner = _parse_json(value)
            if inner is not None:
                open_values.append((name, inner))
            elif "PRIVATE KEY" in value:
                yield from _in_pem(value)
            elif _names_a_secret(name):
                yield value


# A pure function of the name. The environment is read again whenever it may have changed, with the same names.
@lru_cache(maxsize=4096)
def _names_a_secret(variable: str) -> bool:
    if len(variable) > 200:
        return False
    words = [word.upper() for word in _WORD.findall(variable)]
    if not words:
        return False
    if " ".join(words[-2:]) in ("CONNECTION STRING", "CONN STRING", "CONN STR", "SECRET ID", "WEBHOOK URL"):
        return True
    if words[-1] in _ABOUT:
        return False
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        if word in _SECRET or _SECRET_END.fullmatch(word):
            if word.startswith("KEY") and before in _NO_SECRET_KEY:
                continue
            if word.startswith("TOKEN") and not _NO_SECRET_TOKENS.isdisjoint(words):
                continue
            return True
        if word in _SECRET_AT_END and _PLACES.issuperset(words[at + 1 :]) and (at or word != "PWD"):
            return True
    return False
