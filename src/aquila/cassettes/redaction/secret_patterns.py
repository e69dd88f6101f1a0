"""Finds keys and credentials by their shape.

Tokens with a known prefix are searched for only where a run of at least 16 characters of their alphabet begins. Other
secrets are searched for only if a word that goes with them occurs. So a text without secrets costs about one pass.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aquila.cassettes.redaction.found_secrets import PLACEHOLDER, PLACEHOLDER_IN_URL, FoundSecret
from aquila.cassettes.redaction.key_shapes import KEY_SHAPES
from aquila.cassettes.redaction.trivial_values import is_common_word, is_trivial
from aquila.lazy_patterns import lazy_pattern

_TOKEN_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
FLATTENING = bytes(ord("a") if code in _TOKEN_CHARS else ord(" ") for code in range(256))
"""``data.translate(FLATTENING)`` has every token character as ``a`` and every other as a space."""
RUN = b"a" * 16
"""The shortest run of token characters, in flattened bytes, in which a key is searched for."""

_ALPHABET_BYTES = frozenset(_TOKEN_CHARS)


class _KeysOfByte(NamedTuple):
    """The shapes of keys that begin with one byte."""

    stems: tuple[bytes, ...]
    kinds: tuple[str, ...]
    shapes: re.Pattern[bytes]
    """One pattern, with a group for each of the ``kinds``."""


class _KeysByFirstByte(dict[int, _KeysOfByte]):
    """The shapes of keys by their first byte. Each row is made when a text first has a candidate with that byte."""

    def __missing__(self, first: int) -> _KeysOfByte:
        found = ((kind, [stem for stem in stems if stem[0] == first], rest) for kind, stems, rest in KEY_SHAPES)
        rows = [row for row in found if row[1]]
        shapes = (b"((?:%s)%s)" % (b"|".join(map(re.escape, stems)), rest) for _, stems, rest in rows)
        keys = self[first] = _KeysOfByte(
            tuple(stem for _, stems, _ in rows for stem in stems),
            tuple(kind for kind, _, _ in rows),
            lazy_pattern(b"|".join(shapes)),
        )
        return keys


# Grows to at most 256 rows, one for each byte, and is never cleared.
_KEYS_BY_FIRST_BYTE = _KeysByFirstByte()

_STEMS = sorted({stem for _, stems, _ in KEY_SHAPES for stem in stems if len(stem) > 1})
_STEMS_BEFORE_RUNS = tuple(stem for stem in _STEMS if stem[-1] not in _ALPHABET_BYTES)
_STEMS_BY_MARK = tuple(
    (mark, [stem for stem in _STEMS if mark == next((m for m in b"./~-_" if m in stem), stem[0])])
    for mark in sorted({next((m for m in b"./~-_" if m in stem), stem[0]) for stem in _STEMS})
)
"""The prefixes by a byte that they hold: if a text lacks the byte, none of these prefixes is searched for."""

_MANY_RUNS = 64
_DENSE = 256
"""If the first ``_MANY_RUNS`` runs take fewer than ``_DENSE`` bytes each, as in base64, it is faster to search for each
prefix than to examine each run."""

_DASH = lazy_pattern(rb"[-_](?=[A-Za-z])")
_BASE64 = lazy_pattern(rb"[A-Za-z0-9+/]{64}")

# Behind the name of its field, in JSON, XML or a file of settings.
_ACCESS_KEY = rb"(?:>|[\\\"'\s]*[=:][\\\"'\s]*)([A-Za-z0-9+/]{40}(?![A-Za-z0-9+/]))"
_A_DIGIT = lazy_pattern(rb"[0-9]")
_MORE = (*(bytes((code,)) for code in b"=+/-"), *(bytes((code,)) for code in _TOKEN_CHARS))
"""Characters that must not follow basic credentials: with them the base64 continues, and the match is a part of it."""

ESCAPE_BEFORE = rb"(?<=\\[bfnrt])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2})"
"""The letter or the digits of an escape in JSON or a URL are not the end of a word."""
_NO_WORD_BEFORE = rb"(?:(?<![A-Za-z0-9])|%s)" % ESCAPE_BEFORE
_BEGIN = lazy_pattern(_NO_WORD_BEFORE)

_PEM = rb"PRIVATE KEY(?: BLOCK)?-----"

# Each row: the kind, a character and a word that the text must hold, and the pattern, whose group 1 is replaced.
# Searching takes linear time. What follows an unbounded repetition is optional, or the repetition does not match the
# characters with which the pattern begins, so no stretch of text is read twice. tests/ check that.
_KEYS_BY_WORD: tuple[tuple[str, bytes, bytes, re.Pattern[bytes]], ...] = (
    (
        "private key",
        b" ",
        b"PRIVATE KEY",
        lazy_pattern(
            rb"(-----BEGIN [A-Z ]{0,40}%s(?>(?:[A-Za-z0-9+/=\s:,]++|-(?!-)|\\{1,16}[nrt/])*)"
            rb"(?:-----END [A-Z ]{0,40}%s)?)" % (_PEM, _PEM)
        ),
    ),
    ("secret access key", b"_", b"ccess_key", lazy_pattern(rb"secret_access_key" + _ACCESS_KEY)),
    ("secret access key", b"_", b"ACCESS_KEY", lazy_pattern(rb"SECRET_ACCESS_KEY" + _ACCESS_KEY)),
    ("secret access key", b"K", b"ecretAccessKey", lazy_pattern(rb"ecretAccessKey" + _ACCESS_KEY)),
    ("secret access key", b"K", b"ecretKey", lazy_pattern(rb"ecretKey" + _ACCESS_KEY)),  # Cognito
    ("account key", b"=", b"AccessKey=", lazy_pattern(rb"AccessKey=([A-Za-z0-9+/]{40,}={0,2})")),
    ("account key", b"=", b"AccountKey=", lazy_pattern(rb"AccountKey=([A-Za-z0-9+/]{40,}={0,2})")),
    (
        "Slack webhook",
        b".",
        b"hooks.slack.com/",
        lazy_pattern(rb"hooks\.slack\.com/(?:services|workflows|triggers)/([\w/]{20,})"),
    ),
    ("Discord webhook", b"/", b"/api/webhooks/", lazy_pattern(rb"/api/webhooks/[0-9]{15,22}/([\w-]{40,})")),
    ("Teams webhook", b".", b".webhook.office.com/", lazy_pattern(rb"\.webhook\.office\.com/webhookb2/([\w@/-]{60,})")),
    (
        "Telegram token",
        b":",
        b":AA",
        lazy_pattern(rb"(?:(?<!\w)|%s)([0-9]{8,10}:AA[\w-]{33})(?![\w-])" % ESCAPE_BEFORE),
    ),
    (
        "Entra client secret",
        b"~",
        b"Q~",
        lazy_pattern(rb"(?:(?<![\w.~-])|%s)([\w.~]{3}[0-9]Q~[\w.~-]{30,33}[\w~-])(?![\w~-])" % ESCAPE_BEFORE),
    ),
    (
        "Terraform token",
        b".",
        b".atlasv1.",
        lazy_pattern(_NO_WORD_BEFORE + rb"([A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,70})"),
    ),
    # Between their prefix and their run is a part that may be too short for a run: the name of a config, or an id.
    (
        "Doppler token",
        b".",
        b"dp.st.",
        lazy_pattern(_NO_WORD_BEFORE + rb"(dp\.st\.[a-z0-9_-]{2,35}\.[A-Za-z0-9]{40,44})"),
    ),
    (
        "Dynatrace token",
        b".",
        b"dt0s0",
        lazy_pattern(_NO_WORD_BEFORE + rb"(dt0s0[123]\.[A-Za-z0-9]{8,15}\.[A-Za-z0-9]{64})"),
    ),
)
# Without their first letter, whose case may differ: `re` is much faster with a pattern that begins with fixed text.
_BEARER = lazy_pattern(rb"earer[\s+]++([\w.~/-][\w.~+/-]{15,}={0,2})")
_BEARER_IN_CAPITALS = lazy_pattern(_BEARER.pattern.replace(b"earer", b"EARER"))

# Providers mask keys in their error messages but show both ends (sk-ab***cd), which are still parts of a secret.
_MASKED = lazy_pattern(rb"(?<![A-Za-z0-9])(?:sk|gsk|csk|hf|xai|pplx|key)[-_][\w-]{0,20}\*{4,}[\w-]{0,8}")

_USERINFO = lazy_pattern(rb"://([^\s/:@\"'\\<>?#]*:[^\s/\"'\\<>?#]+)@")  # a password may hold an @
_BASIC = lazy_pattern(rb"asic[\s+]++([A-Za-z0-9/_-][A-Za-z0-9+/_-]{7,}={0,2})")
_BASIC_IN_CAPITALS = lazy_pattern(_BASIC.pattern.replace(b"asic", b"ASIC"))

# Fields of JSON, also of JSON in strings, hence the backslashes: first the names of header fields, which services echo,
# then the names of tokens.
_FIELD = lazy_pattern(
    rb"""["'](?i:(?:proxy-)?authorization|x-api-key|x-goog-api-key|(?:set-)?cookie)\\{0,8}["']\s*:\s*"""
    rb"""\\{0,8}["'](?=[^"'\\\r\n]*?[0-9])([^"'\\\r\n]{8,})"""
    rb"""|["'](?i:api[_-]?key|(?:access|refresh|id|session|auth)_?token|client_?secret)\\{0,8}["']\s*:\s*"""
    rb"""\\{0,8}["'](?=[\w.~+/=|-]*?[0-9])([\w.~+/=|-]{16,})"""
)

_FIELD_WORDS = (b"authorization", b"cookie", b"api-key", b"api_key", b"apikey", b'token"', b"token\\", b"secret")

_HEADER_LINE = lazy_pattern(
    rb"^([ \t-]*)[\"']?(?i:(?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?api-key|x-goog-api-key)[\"']?:"
    rb"(?:[ \t]*\r?\n([ \t]*)-)?[ \t]*"
    # A placeholder, perhaps behind a scheme. Chance may put `xxx` within a token, but hardly at an end of its words.
    rb"(?!(?:[\w-]++[ \t]++)?\S*(?i:redacted|filtered|\*\*\*|(?<![^\W_])xxx|xxx(?!\w)))([^\s\[][^\r\n]{7,})",
    re.MULTILINE,
)

_HEADER_WORDS = (b"authorization", b"cookie", b"api-key")
"""What each of the names in ``_HEADER_LINE`` contains."""

_NEXT_LINE = lazy_pattern(rb"\r?\n([ \t]*)(- )?([^\r\n]*)")
_NEXT_COOKIE = lazy_pattern(rb";|,\s*(?=[\w.-]+=)")
"""What ends a cookie or an attribute of one. A comma does if several header fields were joined to one."""

# https://developers.cloudflare.com/fundamentals/reference/policies-compliances/cloudflare-cookies/, and the cookies of
# load balancers: docs.aws.amazon.com/elasticloadbalancing, learn.microsoft.com/azure/app-service.
_COOKIES_ON_THE_WAY = frozenset(
    {
        *(b"__cf_bm", b"__cflb", b"__cfruid", b"__cfseq", b"_cfuvid"),
        *(b"awsalb", b"awsalbcors", b"awsalbtg", b"awsalbtgcors", b"awselb", b"awselbcors"),
        *(b"arraffinity", b"arraffinitysamesite"),
    }
)
_COOKIE_ATTRIBUTES = frozenset(
    {b"", *(b"domain", b"expires", b"httponly", b"max-age", b"partitioned", b"path", b"samesite", b"secure")}
)

_PLACEHOLDER = lazy_pattern(
    rb"(?:[<\[({*]|%(?:3C|5B|28|7B|2A)){0,3}"
    rb"(?:dummy|fake|filtered|hidden|masked|mock|placeholder|redacted|removed|sanitized|scrubbed)"
    rb"(?:[>\])}*]|%(?:3E|5D|29|7D|2A)){0,3}",
    re.IGNORECASE,
)
_PLACEHOLDER_VALUE = lazy_pattern(rb"(?<=[=\"'\r\n])%s(?=[&;#\"'\\\r\n]|\Z)" % _PLACEHOLDER.pattern, re.IGNORECASE)
"""A placeholder that is all of a parameter, a string of JSON, or the content of a part."""

_STRONG_NAMES = (
    rb"(?:x-)?api[_-]?key|(?:access|refresh|id|auth|session)_token|client_secret|client_assertion|password|passwd"
    rb"|sig|signature|subscription-key|awsaccesskeyid|x-signature|x-(?:amz|goog)-(?:signature|credential|security-token)"
)
_WEAK_NAMES = rb"key|token|auth|secret|upload_id"  # whoever has the id of a resumable upload may write to it
_VALUE = rb"[^&\s\"'<>\\#`]"
_QUERY = lazy_pattern(rb"[?&;#](?i:(?:%s)=(%s{6,})|(?:%s)=(%s{16,}))" % (_STRONG_NAMES, _VALUE, _WEAK_NAMES, _VALUE))
# For URLs and forms. They hold no prose, and dummy keys may be short, so here short values count, too.
# The code at the end of an OAuth sign-in is long and has digits; other codes (``code=EUR``) are not.
_QUERY_STRICT = lazy_pattern(
    rb"(?:^|[?&;#])(?i:(?:%s)=(%s+)|(?:%s)=(%s{8,})|code=(?=[^&]*?[0-9])(%s{10,}))"
    % (_STRONG_NAMES, _VALUE, _WEAK_NAMES, _VALUE, _VALUE)
)
# The answer to a sign-in by OAuth 1 is a form, whatever its content type says. In the code of a program, such as
# ``OAuth1(oauth_token=self.token)``, a bracket or a quote stands before the name, or no digit in the value.
_OAUTH_FORM = lazy_pattern(rb"(?:\A|[?&])oauth_token(?:_secret)?=(?=[\w.~%+/-]*[0-9])([\w.~%+/-]{8,}={0,2})")
# A value that was redacted before. No printable character may follow: the placeholder would then be only a part of the
# value. Other bytes may follow, in a binary file.
_REDACTED = lazy_pattern(rb"(?:\[|%5B)redacted(?:-[0-9]+)?(?:\]|%5D)(?![!-~])", re.IGNORECASE)


def find_secret_patterns(data: bytes, flat: bytes, *, has_run: bool, parameters: bool = False) -> Iterator[FoundSecret]:
    """Find everything in ``data`` that looks like a secret.

    ``flat`` is its flattened form, and ``has_run`` says whether ``RUN`` is in that. With ``parameters`` the data
    is a URL or a form, whose parameters count by their names even if short.
    """
    # Each test for a word is much cheaper than the pattern that it spares.
    if has_run:
        yield from _find_prefixed_keys(data, flat)
        yield from _find_after_words(data)
    if b"*" in data and b"****" in data:
        yield from (FoundSecret(*match.span(), "masked key") for match in _MASKED.finditer(data))
    yield from _find_basic_credentials(data)
    if b"@" in data and b"://" in data:
        yield from _find_passwords_in_urls(data)
    if b"oauth_token" in data:
        yield from _find_values(_OAUTH_FORM, data, "OAuth token")
    if b"=" in data and (parameters or b"&" in data or b"?" in data or b"#" in data):
        yield from _find_values(_QUERY_STRICT if parameters else _QUERY, data, "secret parameter")


def _find_after_words(data: bytes) -> Iterator[FoundSecret]:
    """Find tokens that can only be recognised by a word before them, or by the name of their field."""
    # The test for a character is faster than that for a word, and most data lacks some of these characters.
    for kind, character, word, pattern in _KEYS_BY_WORD:
        if character in data and word in data:
            for match in pattern.finditer(data):
                yield FoundSecret(*match.span(1), kind)
    for word, pattern in ((b"earer", _BEARER), (b"EARER", _BEARER_IN_CAPITALS)):
        if word in data:
            for match in pattern.finditer(data):
                if data[match.start() - 1 : match.start()] in (b"B", b"b") and _A_DIGIT.search(match[1]):
                    yield FoundSecret(*match.span(1), "bearer token")
    if b":" in data:
        lowered = data.lower()
        if any(word in lowered for word in _FIELD_WORDS):
            yield from _find_values(_FIELD, data, "secret field")


def _find_basic_credentials(data: bytes) -> Iterator[FoundSecret]:
    for word, pattern in ((b"asic", _BASIC), (b"ASIC", _BASIC_IN_CAPITALS)):
        if word in data:
            for match in pattern.finditer(data):
                is_word = data[match.start() - 1 : match.start()] in (b"B", b"b")
                if is_word and data[match.end() : match.end() + 1] not in _MORE and _is_basic(match[1]):
                    yield FoundSecret(*match.span(1), "basic credentials")


def find_header_lines(data: bytes) -> Iterator[FoundSecret]:
    """Find header fields that carry credentials, written on lines of their own, as other recorders' files hold them."""
    lowered = data.lower()
    if not any(word in lowered for word in _HEADER_WORDS):  # spares trying the pattern at each line of a stream
        return
    for match in _HEADER_LINE.finditer(data):
        is_cookie = b"cookie" in match[0].partition(b":")[0].lower()
        values = _whole_values(data, match)
        if not (is_cookie and all(map(_is_of_servers_on_the_way, values))) and not all(map(_is_made_of_words, values)):
            yield FoundSecret(*match.span(3), "header field with credentials")


def _is_made_of_words(value: bytes) -> bool:
    """Say whether a value is words that a filter has put in its place: ``Bearer test_api_key``, ``test_cookie``."""
    parts = value.strip(b" \t\"'").decode("utf-8", "replace").split()
    return len(parts) <= 2 and all(map(is_trivial, parts))


def _whole_values(data: bytes, match: re.Match[bytes]) -> list[bytes]:
    """Return the values of a header field. YAML may hold a list of them, and write each over several lines."""
    depth = len(match[1] if match[2] is None else match[2])
    values = [match[3]]
    for line in _NEXT_LINE.finditer(data, match.end()):
        if len(line[1]) > depth:
            values[-1] += b" " + line[3]
        elif match[2] is not None and len(line[1]) == depth and line[2]:
            values.append(line[3])
        else:
            break
    return values


def _is_of_servers_on_the_way(cookies: bytes) -> bool:
    """Whether cookies only tell a network of servers, or a load balancer, which connection this is."""
    pairs = _NEXT_COOKIE.split(cookies.strip(b"'\""))
    return {pair.partition(b"=")[0].strip().lower() for pair in pairs} <= _COOKIES_ON_THE_WAY | _COOKIE_ATTRIBUTES


def is_placeholder(value: bytes) -> bool:
    """Whether a value is a word that people write in the place of a secret, such as ``scrubbed`` or ``<fake>``."""
    return _PLACEHOLDER.fullmatch(value) is not None


def redact_placeholders(data: bytes, *, is_url: bool = False) -> bytes:
    """Return a body or a URL with ``[redacted]``, which a redactor leaves as it is, in place of other placeholders."""
    return _PLACEHOLDER_VALUE.sub(PLACEHOLDER_IN_URL if is_url else PLACEHOLDER, data)


def _find_passwords_in_urls(data: bytes) -> Iterator[FoundSecret]:
    """Find user and password before the host of a URL, unless the password is a word that documentation uses."""
    for found in _find_values(_USERINFO, data, "password in a URL"):
        password = data[found.start : found.end].partition(b":")[2]
        if not is_common_word(password.decode("utf-8", "replace")):
            yield found


def _find_values(pattern: re.Pattern[bytes], data: bytes, kind: str) -> Iterator[FoundSecret]:
    """Yield the group that matched, unless it was replaced before."""
    for match in pattern.finditer(data):
        group = match.lastindex or 0
        if not _REDACTED.match(match[group]):
            yield FoundSecret(*match.span(group), kind)


def _find_prefixed_keys(data: bytes, flat: bytes) -> Iterator[FoundSecret]:
    done = 0
    for start, end in _candidate_runs(data, flat):
        if start < done:  # a part of the key found last, which has more than one run
            continue
        for candidate in _possible_starts(data, start, end):
            keys = _KEYS_BY_FIRST_BYTE[data[candidate]]
            if not data.startswith(keys.stems, candidate):
                continue
            match = keys.shapes.match(data, candidate)
            if match and match.lastindex:
                done = match.end()
                yield FoundSecret(*match.span(), keys.kinds[match.lastindex - 1])
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


def _candidate_runs(data: bytes, flat: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of the runs in which a token may begin."""
    for number, (start, end) in enumerate(_runs(flat)):
        if number == _MANY_RUNS and start < _MANY_RUNS * _DENSE < len(data):
            yield from _runs_with_prefix(data, flat, start)
            return
        yield start, end


def _runs_with_prefix(data: bytes, flat: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Yield the runs from ``first`` on that hold a prefix of a key. Base64 has many runs, and hardly ever a prefix."""
    places = set()
    for stem in [stem for mark, stems in _STEMS_BY_MARK if mark in data for stem in stems]:
        at = data.find(stem, max(0, first - len(stem)))
        while at >= 0:
            # Where the stem ends with a character that no run has, a run begins behind it.
            at += len(stem) if stem in _STEMS_BEFORE_RUNS else 0
            start = flat.rfind(b" ", 0, at) + 1
            end = flat.find(b" ", at)
            end = len(flat) if end < 0 else end
            if end - start >= len(RUN) and start >= first:
                places.add((start, end))
            at = data.find(stem, max(at + 1, end))
    yield from sorted(places)


def _possible_starts(data: bytes, start: int, end: int) -> Sequence[int]:
    """Return the offsets at which a token may begin in the run from ``start`` to ``end``.

    These are its start, the place behind the letter of an escape (``\\n``), which looks like part of the run, and the
    places behind dashes. Base64 may hold any prefix by chance, so no token begins in the middle of it. In a run that is
    too long for a key, a token begins only at the start.
    """
    before = data[start - 1] if start else 0
    if before in b"+/" and start >= 64 and _BASE64.match(data, start - 64):
        return ()
    starts = [start]
    if before in b"./~":  # no run holds these, and some stems end with them
        stem = next((stem for stem in _STEMS_BEFORE_RUNS if data.endswith(stem, 0, start)), b"")
        if stem and _BEGIN.match(data, start - len(stem)):
            starts.append(start - len(stem))
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
    except ValueError:
        return False
    return b":" in plain and plain.isascii() and plain.decode("ascii").isprintable()
