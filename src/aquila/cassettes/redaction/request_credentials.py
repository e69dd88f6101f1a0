"""Finds the credentials of a request by the names of its header fields, parameters and fields of JSON or XML.

What is found here is removed wherever a service may repeat it. Names count only in requests, because an answer may hold
anything under any name. They do not count in prompts, tool schemas and lists of tokens, which are text.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import unquote, unquote_plus

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.model import Headers, RecordedRequest
from aquila.cassettes.redaction.found_secrets import FoundSecret
from aquila.cassettes.redaction.request_headers import SUBPROTOCOLS, is_secret_header
from aquila.cassettes.redaction.trivial_values import is_trivial
from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern

if TYPE_CHECKING:
    from aquila.cassettes import multipart
    from aquila.cassettes.redaction import decoded_views
else:
    lazy_modules(globals(), "aquila.cassettes: multipart", "aquila.cassettes.redaction: decoded_views")

_TEXTS = frozenset(
    (
        *("choices", "completion", "contents", "documents", "examples", "input", "inputs", "instructions", "logprobs"),
        *("messages", "output", "prompt", "prompts", "properties", "system", "system_instruction", "top_logprobs"),
    )
)
"""Fields of JSON in which names mean nothing: prompts, tool schemas, tokens."""

_HUMP = lazy_pattern(r"(?<=[a-z0-9])(?=[A-Z])")  # between the words of camelCase
# The value of a field with such a name is a secret, whatever the value looks like.
_CERTAIN = lazy_pattern(
    r"(?:.*_)?(?:h?api_?key|(?:private|secret|account|subscription|shared_?access|(?:secret_)?access)_?key|auth_?key"
    r"|(?:encryption|signing|master|license|licence)_?key"
    r"|(?:client|api|app|shared|consumer|webhook|signing)_?secret|client_assertion"
    r"|(?:access|refresh|id|auth|session|bearer|api|security|personal|sas|bot|oauth)_?token"
    r"|password|passwd|passphrase|authorization)(?:_?\d+)?"
)
# The value of a field with such a name is a secret if it looks like one: if it has letters and digits.
_LIKELY = lazy_pattern(
    r"(?:.*_)?(?:token|secret|auth|credentials?|creds|cookie|pwd|pass|passcode|bearer|jwt|pat)(?:_?\d+)?"
)
_LIKELY_PARAMETER = lazy_pattern(
    r"(?:app_?)?key|app_?id|sig|(?:.*_)?signature|upload_id|awsaccesskeyid|x_(?:amz|goog)_credential|assertion|hmac"
)
_BASE64 = lazy_pattern(r"(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9+/]{20,}={0,2}")
_SHORTEST_CODE = 10
"""A parameter ``code`` of at least so many characters, one of them a digit, is an OAuth code. ``code=EUR`` is none."""

# Names that end like those of secrets, and belong to paging, tokenizers and counts.
_NOT_SECRET = lazy_pattern(
    r"(?:.*_)?(?:page|next|prev|previous|continuation|cursor|sync|start|end|stop|eos|bos|pad|unk|mask|sep|cls|skip|last"
    r"|first|offset|pagination|special|max|min|num|prompt|completion|image|audio|public|progress)_(?:token|key)s?"
)
_ENDS = (
    *(b"key", b"token", b"secret", b"password", b"passwd", b"passphrase", b"authorization", b"auth", b"credential"),
    *(b"credentials", b"creds", b"cookie", b"pwd", b"pass", b"passcode", b"bearer", b"jwt", b"pat", b"assertion"),
)
"""How the names of secret fields end. JSON in which no name ends so need not be parsed."""

_WINDOW = 1024 * 1024
"""Bytes of a body that are searched at once for such a word."""

_MOST_READ = 8 * 1024 * 1024
"""The most bytes of a body in a file that is read into memory to search for names."""

_DEPTH = 2
"""How many layers of JSON in strings of JSON are searched."""

_Place: TypeAlias = tuple[int, int]
_LONGEST_NAME = 100
# Behind a name that ends like one of `_ENDS`, or with a digit. Begins with fixed text, which `re` finds much faster.
_NAME_END = lazy_pattern(
    rb'"(?=\s{0,64}:\s{0,64}["\[\\])(?<=(?i:%s|.[0-9\\])")' % b"|".join(sorted({word[-2:] for word in _ENDS})),
    re.DOTALL,
)
_JSON = lazy_pattern(rb'"([^"\\]*+(?>(?:\\.[^"\\]*+)*))"(\s*:)?|[{}\[\]]', re.DOTALL)
_XML_ELEMENT = lazy_pattern(rb"<([\w:.-]++)(?:\s[^<>]*+)?>(?:([^<>]++)|<!\[CDATA\[([^\]<]++)\]\]>)</")
_XML_ATTRIBUTE = lazy_pattern(rb"""\s([\w:.-]++)=["']([^"'<>\s]++)["']""")
_USERINFO = lazy_pattern(r"[a-zA-Z][a-zA-Z0-9+.-]*://([^/?#]*)@")
_REDACTED = lazy_pattern(r"(?:\[|%5B)redacted", re.IGNORECASE)
_TEMPLATE = lazy_pattern(r"\$\{.*\}|\$[A-Z_][A-Z0-9_]*|\{.*\}|<.*>|%\(\w*\)s|%[A-Z_]+%")


class NamedSecrets(NamedTuple):
    """The credentials of a request, and the places in its body that the names of their fields mark as secret.

    ``in_form`` says that the body is a form.
    """

    values: frozenset[str]
    places: list[FoundSecret]
    in_form: bool


def find_named_secrets(request: RecordedRequest, media: str) -> NamedSecrets:
    """Find the secrets in URL and body of a request, by the names of parameters, fields and multipart parts.

    ``media`` is its content type, or empty.
    """
    values = set(_in_url(request.url))
    places: list[FoundSecret] = []
    kind = media.lower()
    in_form = kind.startswith("application/x-www-form-urlencoded")
    if isinstance(request, StoredRequest) and request.file.size > _MOST_READ:
        return NamedSecrets(frozenset(values), places, in_form)
    body = request.body
    if in_form:
        text = body.decode("utf-8", "replace")
        values.update(_in_parameters(text))
        for document in _json_parameters(text):
            for name, raw, place in _in_json(document):
                # The place is not kept, because it is in the decoded document. Scrubbing the body finds the value.
                _take_in(name, raw, place, values, [], in_json=True)
    elif kind.startswith("multipart/"):
        for name, data, start in _plain_parts(body, media):
            _take_in(name, data, (start, start + len(data)), values, places)
    elif body[:1] == b"<" or body.lstrip()[:1] == b"<":
        for name, data, place in _in_xml(body):
            _take_in(name, data, place, values, places)
    elif body[:1] in (b"{", b"[") or body.lstrip()[:1] in (b"{", b"["):
        for name, raw, place in _in_json(body):
            _take_in(name, raw, place, values, places, in_json=True)
    return NamedSecrets(frozenset(values), places, in_form)


def _take_in(
    name: str, raw: bytes, place: _Place, values: set[str], places: list[FoundSecret], *, in_json: bool = False
) -> None:
    """Add the value of a field to ``values`` and ``places``, if its name and the value say that it is a secret.

    ``raw`` is the value as it is written at ``place`` in the body; with ``in_json``, between the quotes of a string.
    """
    likelihood = _likelihood_of(name)
    if not likelihood or not raw or b"[redacted" in raw:
        return
    try:
        text: str = json.loads(b'"%s"' % raw) if in_json and b"\\" in raw else raw.decode()
    except ValueError:
        return
    certain = likelihood == "certain"
    value = _without_scheme(text) if name.lower().endswith("authorization") else text
    counts = counts_as_secret(value, certain=certain)
    if counts:
        values.add(value)
    # Where the name leaves no doubt, even a dummy is replaced: another machine has a real key there, and the requests
    # of both must be equal. But a dummy is not searched for elsewhere.
    if counts or (certain and not _looks_like_text(text)):
        places.append(FoundSecret(*place, "secret field", value=text.encode("utf-8", "surrogatepass")))


@lru_cache(maxsize=2048)  # pure; the same few names come in every request
def _likelihood_of(name: str, *, parameter: bool = False) -> str:
    """Return how likely a field with this name holds a secret: ``certain``, ``likely``, or an empty text for no."""
    if len(name) > _LONGEST_NAME:
        return ""
    name = _HUMP.sub("_", name).lower().replace("-", "_").replace(".", "_")
    if _NOT_SECRET.fullmatch(name):
        return ""
    if _CERTAIN.fullmatch(name):
        return "certain"
    return "likely" if _LIKELY.fullmatch(name) or (parameter and _LIKELY_PARAMETER.fullmatch(name)) else ""


def counts_as_secret(value: str, *, certain: bool) -> bool:
    """Say whether the value of a field is to be removed wherever it stands.

    ``certain`` says that the name of the field leaves no doubt. A plain word or a path does not count: removing it
    everywhere would change texts that have nothing to do with it.
    """
    if is_trivial(value) or _REDACTED.search(value) or _looks_like_text(value):
        return False
    return certain or (
        any(map(str.isdigit, value)) and any(map(str.isalpha, value)) and not any(char in "/\\" for char in value)
    )


def _looks_like_text(value: str) -> bool:
    """Say whether a value is several words, or a template in whose place a value belongs: ``${API_KEY}``."""
    return any(map(str.isspace, value.strip())) or _TEMPLATE.fullmatch(value) is not None


def credentials_in(headers: Headers) -> Iterator[str]:
    """Yield the credentials in the header fields of a request, and the value of each of its cookies."""
    for name, text in headers:
        if is_secret_header(name):
            value = _without_scheme(text)
            if text.strip().lower().startswith("basic "):
                yield from _in_basic(value)
            if name.lower() == "cookie":
                for cookie in text.split(";"):
                    yield from _if_it_counts(cookie.partition("=")[2].strip().strip('"'), certain=False)
            elif name.lower().endswith("authorization"):
                yield from _in_authorization(value)
            elif value != (whole := text.strip()) and not is_trivial(whole):
                yield whole  # what looks like a scheme may be a part of the secret
            if not is_trivial(value):
                yield value
        elif name.lower() == SUBPROTOCOLS:
            yield from _in_subprotocols(text)


_BEFORE_CREDENTIAL = frozenset({"token", "bearer", "authorization", "access_token", "access-token", "api-key", "jwt"})
_TELLS_WHO = lazy_pattern(r"(?i)(?:[\w-]*-)?(?:organi[sz]ation|org|project|account|bearer)")


def _in_subprotocols(text: str) -> Iterator[str]:
    """Yield the credentials among the subprotocols of a WebSocket, and names of accounts and organisations.

    Browsers cannot set header fields of a handshake, so clients send them there: as ``name.value``, or as the item that
    follows a name.
    """
    before = ""
    for item in map(str.strip, text.split(",")):
        name, dot, value = item.partition(".")
        if before in _BEFORE_CREDENTIAL:
            yield from _if_it_counts(item, certain=True)
        elif dot and (is_secret_header(name) or _TELLS_WHO.fullmatch(name)):
            yield from _if_it_counts(value, certain=True)
        before = item.lower()


def _without_scheme(text: str) -> str:
    scheme, _, rest = text.strip().partition(" ")
    return rest.strip() if rest and scheme.replace("-", "").isalnum() else text.strip()


def _in_authorization(value: str) -> Iterator[str]:
    """Yield the parts of an ``Authorization`` value that are secret: ``token="..."`` and the like, or ``id:secret``."""
    pairs = [part.partition("=") for part in re.split(r"[,;\s]", value)]
    parameters = [(name, text.strip('"')) for name, _, text in pairs if text.strip("=")]
    for name, text in parameters:
        if name.lower() == "response" or _likelihood_of(name, parameter=True):
            yield from _if_it_counts(text, certain=True)
    _, colon, secret = value.partition(":")
    if colon and not parameters:
        yield from _if_it_counts(secret, certain=True)


def _in_basic(value: str) -> Iterator[str]:
    """Yield the password, or the name of the user if there is none: many services take a key there."""
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return
    if not password:
        yield from _if_it_counts(user, certain=False)
    elif not is_trivial(password):
        yield password


def _if_it_counts(value: str, *, certain: bool) -> Iterator[str]:
    """Yield a value as it is and without percent-encoding, if it counts."""
    for text in {value, unquote(value)} if "%" in value else (value,):
        if counts_as_secret(text, certain=certain):
            yield text


@lru_cache(maxsize=1024)  # pure; a program asks few URLs
def _in_url(url: str) -> frozenset[str]:
    found: set[str] = set()
    if "@" in url and (userinfo := _USERINFO.match(url)):
        user, _, password = userinfo[1].partition(":")
        found.update(_if_it_counts(password or user, certain=True))
    _, _, rest = url.partition("?")
    for part in (rest.partition("#")[0], url.partition("#")[2]):
        found.update(_in_parameters(part))
    return frozenset(found)


def _in_parameters(text: str) -> Iterator[str]:
    """Yield the secrets among the parameters of a query or a form."""
    for pair in re.split("[&;]", text) if "=" in text else ():
        name, _, value = pair.partition("=")
        likelihood = _likelihood_of(unquote_plus(name), parameter=True) if value else ""
        if name.lower() == "code" and len(value) >= _SHORTEST_CODE and any(map(str.isdigit, value)):
            likelihood = "certain"
        if likelihood:
            # A plus sign is a blank, except in a key that a program has put into its URL without escapes.
            text = value if _BASE64.fullmatch(value) else value.replace("+", " ")
            yield from _if_it_counts(text, certain=likelihood == "certain")


def _json_parameters(text: str) -> Iterator[bytes]:
    """Yield the parameters of a form that are JSON, such as Slack's ``payload=``."""
    for pair in text.split("&"):
        value = pair.partition("=")[2]
        if value.startswith(("{", "[", "%7B", "%5B", "%7b", "%5b")):
            yield unquote_plus(value).encode("utf-8", "surrogatepass")


def _plain_parts(body: bytes, media: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield the plain fields of a multipart body: name, content, and the offset of the content in the body."""
    if not _has_word_of_secrets(body):  # much cheaper than parsing
        return
    at = 0
    for part in multipart.parse_multipart(body, media) or ():
        at = max(at, body.find(b"\r\n\r\n" + part.data, at) + 4)
        if part.filename is None and not part.transfer_encoding and body.startswith(part.data, at):
            yield part.name, part.data, at
        at += len(part.data)


def _in_xml(body: bytes) -> Iterator[tuple[str, bytes, _Place]]:
    """Yield the elements of an XML document that hold a text alone, and its attributes: name, raw text, and place."""
    if not _has_word_of_secrets(body):
        return
    found = [match for pattern in (_XML_ELEMENT, _XML_ATTRIBUTE) for match in pattern.finditer(body)]
    values = [(match.span(match.lastindex or 0), match) for match in found]
    for place, match in sorted(values, key=lambda each: each[0]):
        yield match[1].rpartition(b":")[2].decode("utf-8", "replace"), body[slice(*place)], place


def _has_word_of_secrets(body: bytes) -> bool:
    """Say whether any word of ``_ENDS`` is in a body, in small or capital letters."""
    # In windows, because the body may be large and `lower` makes a copy.
    for start in range(0, len(body), _WINDOW):
        lowered = body[start : start + _WINDOW + max(map(len, _ENDS))].lower()
        if any(word in lowered for word in _ENDS):
            return True
    return False


def _in_json_string(raw: bytes, start: int, depth: int) -> Iterator[tuple[str, bytes, _Place]]:
    """Yield what ``_in_json`` yields, for JSON within a JSON string whose content begins at ``start`` in the body."""
    view = decoded_views.decode_json_escapes(raw)
    for name, inner, place in _in_json(view.data, depth):
        if inner:
            first, last = view.locate_in_raw(*place)
            yield name, inner, (start + first, start + last)


def _in_json(body: bytes, depth: int = _DEPTH) -> Iterator[tuple[str, bytes, _Place]]:
    """Yield the strings of a JSON document outside of texts: the name of the field, the raw content, and its place.

    JSON within its strings is read, too, down to ``depth`` layers. The document may also be one for each line.
    """
    if not _may_name_a_secret(body):
        return
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        yield from _in_json_lines(body, depth)
        return
    name = ""
    # Of each list or object that is open: whether it is text, and the name that its items have if it is a list.
    around: list[tuple[bool, str]] = [(False, "")]
    for token in _JSON.finditer(body):
        kind = token[0][:1]
        if kind in b"{[":
            is_text, list_name = around[-1]
            name = name or list_name
            around.append((is_text or name.lower() in _TEXTS, name if kind == b"[" else ""))
            name = ""
        elif kind in b"}]":
            around.pop()
            name = ""
        elif token[2] is not None:
            name = token[1].decode("utf-8", "replace")
        else:
            is_text, list_name = around[-1]
            if not is_text and name.lower() not in _TEXTS:
                yield name or list_name, token[1], token.span(1)
                if depth and token[1].startswith((b'{\\"', b'[{\\"')):
                    yield from _in_json_string(token[1], token.start(1), depth - 1)
            name = ""


def _in_json_lines(body: bytes, depth: int) -> Iterator[tuple[str, bytes, _Place]]:
    start, lines = 0, body.split(b"\n")
    for line in lines if len(lines) > 1 else ():
        for name, raw, (first, last) in _in_json(line, depth):
            yield name, raw, (start + first, start + last)
        start += len(line) + 1


def _may_name_a_secret(body: bytes) -> bool:
    """Say whether a string or a list in a JSON document has a name that ends like those of secrets."""
    for match in _NAME_END.finditer(body):
        name = body[max(0, match.start() - 40) : match.start()].rstrip(b"\\")  # in JSON within a string
        if name.rstrip(b"0123456789").rstrip(b"_-.").lower().endswith(_ENDS):
            return True
    return False
