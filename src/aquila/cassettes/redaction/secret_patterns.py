"""Finds keys and credentials by what they look like.

Tokens with a known prefix are searched for only where a run of at least 16 characters of their alphabet begins. The
others are searched for only if a word that goes with them is there. So a text without secrets costs about one pass.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence

from aquila.cassettes.redaction.found_secrets import FoundSecret

_TOKEN_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_ALPHABET = bytes(ord("a") if code in _TOKEN_CHARS else ord(" ") for code in range(256))
RUN = b"a" * 16
"""The shortest run of token characters in :func:`flattened` bytes that is looked at."""

# Letters and dashes alone may be a title (sk-learn-tutorial-for-beginners). A key has digits, and 16 characters
# without a dash.
_KEYISH = rb"(?=[\w-]{0,200}?[A-Za-z0-9]{16})(?=[\w-]{0,200}?[0-9])[\w-]{20,}"

_PREFIXED: tuple[tuple[str, bytes], ...] = (
    ("Anthropic key", rb"sk-ant-" + _KEYISH),
    ("OpenRouter key", rb"sk-or-" + _KEYISH),
    ("OpenAI key", rb"sk-" + _KEYISH),
    ("OpenAI client secret", rb"ek_[A-Za-z0-9]{20,}"),
    ("Stripe key", rb"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("webhook secret", rb"whsec_[A-Za-z0-9+/]{20,}={0,2}"),
    ("Google API key", rb"AIza[\w-]{35}"),
    ("Google OAuth token", rb"ya29\.[\w-]{20,}"),
    ("Google client secret", rb"GOCSPX-[\w-]{28}"),
    ("AWS access key id", rb"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    ("AWS Bedrock key", rb"ABSK[A-Za-z0-9+/]{100,}={0,2}"),
    ("GitHub token", rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}"),
    ("GitLab token", rb"glpat-[\w-]{20,}"),
    ("Slack token", rb"xox[a-z]-[A-Za-z0-9-]{16,}|xapp-[A-Za-z0-9-]{16,}"),
    ("Hugging Face token", rb"hf_[A-Za-z0-9]{30,}"),
    ("Groq key", rb"gsk_[A-Za-z0-9]{40,}"),
    ("xAI key", rb"xai-[A-Za-z0-9]{60,}"),
    ("Perplexity key", rb"pplx-[A-Za-z0-9]{40,}"),
    ("Cerebras key", rb"csk-[a-z0-9]{40,}"),
    ("Replicate token", rb"r8_[A-Za-z0-9]{36,}"),
    ("NVIDIA key", rb"nvapi-[\w-]{60,}"),
    ("Together key", rb"tgp_v1_[\w-]{40,}"),
    ("LangSmith key", rb"lsv2_[a-z]{2}_[0-9a-f]{32}\w*"),
    ("Tavily key", rb"tvly-[A-Za-z0-9-]{20,}"),
    ("Jina key", rb"jina_[A-Za-z0-9]{40,}"),
    ("npm token", rb"npm_[A-Za-z0-9]{36}"),
    ("PyPI token", rb"pypi-AgEI[\w-]{40,}"),
    ("DigitalOcean token", rb"do[opr]_v1_[0-9a-f]{64}"),
    ("SendGrid key", rb"SG\.[\w-]{16,}\.[\w-]{16,}"),
    ("JSON Web Token", rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
)
_PREFIX_STARTS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"A", (b"AIza", b"AKIA", b"ASIA", b"ABIA", b"ACCA", b"ABSK")),
    (b".", (b"ya29.", b"SG.", b"eyJ")),
    (
        b"-",
        (b"sk-", b"csk-", b"GOCSPX-", b"glpat-", b"xox", b"xapp-", b"xai-", b"pplx-", b"nvapi-", b"tvly-", b"pypi-"),
    ),
    (b"_", (b"sk_", b"rk_", b"ek_", b"gsk_", b"whsec_", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_")),
    (b"_", (b"hf_", b"r8_", b"tgp_v1_", b"lsv2_", b"jina_", b"npm_", b"dop_v1_", b"doo_v1_", b"dor_v1_")),
)
"""What each pattern above begins with, after a character that goes with it."""

_MANY_RUNS = 64
_DENSE = 256
"""When so many runs have fewer bytes than this each, searching for each prefix is faster than looking at each run."""

_DASH = re.compile(rb"[-_](?=[A-Za-z])")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64}")
_ANY_PREFIXED = re.compile(b"|".join(b"(%s)" % pattern for _, pattern in _PREFIXED), re.ASCII)

_ACCESS_KEY = rb"[\\\"'\s]*[=:][\\\"'\s]*([A-Za-z0-9+/]{40}(?![A-Za-z0-9+/]))"
_PEM = rb"PRIVATE KEY(?: BLOCK)?-----"

# Each: kind, a character and a word that must be there, the pattern. Group 1 is what is replaced.
_TELLING: tuple[tuple[str, bytes, bytes, re.Pattern[bytes]], ...] = (
    ("bearer token", b"e", b"earer", re.compile(rb"[Bb]earer[\s+]+(?=[\w.~+/-]*?[0-9])([\w.~+/-]{16,}={0,2})")),
    ("bearer token", b"E", b"EARER", re.compile(rb"BEARER[\s+]+(?=[\w.~+/-]*?[0-9])([\w.~+/-]{16,}={0,2})")),
    (
        "private key",
        b" ",
        b"PRIVATE KEY",
        re.compile(
            rb"(-----BEGIN [A-Z ]*%s(?:[A-Za-z0-9+/=\s:,]|-(?!-)|\\+[nrt/])*+(?:-----END [A-Z ]*%s)?)" % (_PEM, _PEM)
        ),
    ),
    ("secret access key", b"_", b"ccess_key", re.compile(rb"secret_access_key" + _ACCESS_KEY)),
    ("secret access key", b"_", b"ACCESS_KEY", re.compile(rb"SECRET_ACCESS_KEY" + _ACCESS_KEY)),
    ("account key", b"=", b"AccessKey=", re.compile(rb"AccessKey=([A-Za-z0-9+/]{40,}={0,2})")),
    ("account key", b"=", b"AccountKey=", re.compile(rb"AccountKey=([A-Za-z0-9+/]{40,}={0,2})")),
    ("Slack webhook", b".", b"hooks.slack.com/", re.compile(rb"hooks\.slack\.com/services/([\w/]{20,})")),
)

# Providers mask keys in their errors, but show both ends.
_MASKED = re.compile(rb"(?<![A-Za-z0-9])(?:sk|gsk|csk|hf|xai|pplx|key)[-_][\w-]{0,20}\*{4,}[\w-]{0,8}")

_USERINFO = re.compile(rb"://([^\s/:@\"'\\<>?#]*:[^\s/@\"'\\<>?#]+)@")
_BASIC = re.compile(rb"(?:[Bb]asic|BASIC)[\s+]+([A-Za-z0-9+/_-]{8,}={0,2})(?![\w+/=-])")

# Fields of JSON, also of JSON in strings: names of header fields, as services echo them; then names of tokens.
_FIELD = re.compile(
    rb"""["'](?i:(?:proxy-)?authorization|x-api-key|x-goog-api-key|(?:set-)?cookie)\\{0,8}["']\s*:\s*"""
    rb"""\\{0,8}["']([^"'\\\r\n]{8,})"""
    rb"""|["'](?i:api[_-]?key|(?:access|refresh|id|session|auth)_?token|client_?secret)\\{0,8}["']\s*:\s*"""
    rb"""\\{0,8}["'](?=[\w.~+/=-]*?[0-9])([\w.~+/=-]{16,})"""
)

_FIELD_WORDS = (b"authorization", b"cookie", b"api-key", b"api_key", b"apikey", b'token"', b"token\\", b"secret")

_HEADER_LINE = re.compile(
    rb"^[ \t-]*[\"']?(?i:(?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?api-key|x-goog-api-key)[\"']?:"
    rb"(?:[ \t]*\r?\n[ \t]*-)?[ \t]*(?!\S*(?i:redacted|filtered|\*\*\*|xxx))([^\s\[][^\r\n]{7,})",
    re.MULTILINE,
)

_STRONG_NAMES = (
    rb"(?:x-)?api[_-]?key|(?:access|refresh|id|auth|session)_token|client_secret|client_assertion|password|passwd"
    rb"|sig|signature|subscription-key|awsaccesskeyid|x-(?:amz|goog)-(?:signature|credential|security-token)"
)
_WEAK_NAMES = rb"key|token|auth|secret"
_VALUE = rb"[^&\s\"'<>\\#]"
_QUERY = re.compile(rb"[?&;](?i:(?:%s)=(%s{6,})|(?:%s)=(%s{16,}))" % (_STRONG_NAMES, _VALUE, _WEAK_NAMES, _VALUE))
# A URL or a form holds no prose, and dummy keys may be short, so here short values count too.
_QUERY_STRICT = re.compile(
    rb"(?:^|[?&;])(?i:(?:%s)=(%s+)|(?:%s)=(%s{8,}))" % (_STRONG_NAMES, _VALUE, _WEAK_NAMES, _VALUE)
)
# In a binary file, bytes that are not text may follow.
_REDACTED = re.compile(rb"(?:\[|%5B)redacted(?:\]|%5D)(?![!-~])", re.IGNORECASE)


def flatten_tokens(data: bytes) -> bytes:
    """Return the bytes with every token character as ``a`` and every other as a space."""
    return data.translate(_ALPHABET)


def find_secret_patterns(data: bytes, flat: bytes, *, parameters: bool = False) -> Iterator[FoundSecret]:
    """Find everything in ``data`` that looks like a secret. ``flat`` is its :func:`flatten_tokens` form.

    With ``parameters`` the data is a URL or a form, whose parameters count by their names even if short.
    """
    # Each test for a word is much cheaper than the pattern that it spares.
    if RUN in flat:
        yield from _find_prefixed_keys(data, flat)
        yield from _find_after_words(data)
    if b"*" in data and b"****" in data:
        yield from (FoundSecret(*match.span(), "masked key") for match in _MASKED.finditer(data))
    if b"asic" in data or b"ASIC" in data:
        yield from _find_basic_credentials(data)
    if b"@" in data and b"://" in data:
        yield from _find_values(_USERINFO, data, "password in a URL")
    if b"=" in data and (parameters or b"&" in data or b"?" in data):
        yield from _find_values(_QUERY_STRICT if parameters else _QUERY, data, "secret parameter")


def _find_after_words(data: bytes) -> Iterator[FoundSecret]:
    """Find tokens that only a word before them or the name of their field tells."""
    # One character is found faster still than a word, and base64 has none of them.
    for kind, character, word, pattern in _TELLING:
        if character in data and word in data:
            for match in pattern.finditer(data):
                yield FoundSecret(*match.span(1), kind)
    if b":" in data:
        lowered = data.lower()
        if any(word in lowered for word in _FIELD_WORDS):
            yield from _find_values(_FIELD, data, "secret field")


def _find_basic_credentials(data: bytes) -> Iterator[FoundSecret]:
    for match in _BASIC.finditer(data):
        if _is_basic(match[1]):
            yield FoundSecret(*match.span(1), "basic credentials")


def find_header_lines(data: bytes) -> Iterator[FoundSecret]:
    """Find header fields that carry credentials, written on lines of their own, as other recorders' files hold them."""
    for match in _HEADER_LINE.finditer(data):
        yield FoundSecret(*match.span(1), "header field with credentials")


def _find_values(pattern: re.Pattern[bytes], data: bytes, kind: str) -> Iterator[FoundSecret]:
    """Yield the group that matched, unless it was replaced before."""
    for match in pattern.finditer(data):
        group = match.lastindex or 0
        if not _REDACTED.match(match[group]):
            yield FoundSecret(*match.span(group), kind)


def _find_prefixed_keys(data: bytes, flat: bytes) -> Iterator[FoundSecret]:
    for start, end in _runs_worth_a_look(data, flat):
        for candidate in _possible_starts(data, start, end):
            match = _ANY_PREFIXED.match(data, candidate)
            if match and match.lastindex:
                yield FoundSecret(*match.span(), _PREFIXED[match.lastindex - 1][0])
                break


def _runs(flat: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the runs of token characters begin and end."""
    start = flat.find(RUN)
    while start >= 0:
        end = flat.find(b" ", start + len(RUN))
        if end < 0:
            end = len(flat)
        yield start, end
        start = flat.find(RUN, end)


def _runs_worth_a_look(data: bytes, flat: bytes) -> Iterator[tuple[int, int]]:
    """Yield the runs in which a token may begin."""
    for number, (start, end) in enumerate(_runs(flat)):
        if number == _MANY_RUNS and start < _MANY_RUNS * _DENSE < len(data):
            yield from _runs_with_prefix(data, flat, start)
            return
        yield start, end


def _runs_with_prefix(data: bytes, flat: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Yield the runs from ``first`` on that hold a prefix: base64 has many runs, and hardly a prefix."""
    places = set()
    prefixes = [prefix for character, group in _PREFIX_STARTS for prefix in group if character in data]
    for prefix in prefixes:
        at = data.find(prefix, first - len(prefix))
        while at >= 0:
            # Where a run begins behind the prefix, the prefix ends with a dot.
            at += len(prefix) if prefix.endswith(b".") else 0
            start = flat.rfind(b" ", 0, at) + 1
            end = flat.find(b" ", at)
            end = len(flat) if end < 0 else end
            if end - start >= len(RUN) and start >= first:
                places.add((start, end))
            at = data.find(prefix, max(at + 1, end))
    yield from sorted(places)


def _possible_starts(data: bytes, start: int, end: int) -> Sequence[int]:
    """Return where in a run a token may begin: at its start, after an escape that looks like part of it, after a dash.

    Base64 may hold any prefix by chance. So nothing begins in the middle of it, and in a run that is too long for a key
    a token begins only at the start.
    """
    before = data[start - 1] if start else 0
    if before in b"+/" and start >= 64 and _BASE64.match(data, start - 64):
        return ()
    starts = [start]
    if before == ord("."):  # these prefixes end with a dot, which no token has
        starts += [start - len(prefix) for prefix in (b"ya29.", b"SG.") if data.endswith(prefix, 0, start)]
    elif before == ord("\\"):
        starts.append(start + (5 if data[start] == ord("u") else 1))
    elif before == ord("%"):
        starts.append(start + 2)
    if end - start <= 512:
        starts += [match.end() for match in _DASH.finditer(data, start, end)]
    return starts


def _is_basic(token: bytes) -> bool:
    altchars = b"-_" if b"-" in token or b"_" in token else None
    try:
        plain = base64.b64decode(token + b"=" * (-len(token) % 4), altchars)
    except (binascii.Error, ValueError):
        return False
    return b":" in plain and plain.isascii() and plain.decode("ascii").isprintable()
