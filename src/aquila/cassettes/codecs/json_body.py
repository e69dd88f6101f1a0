"""JSON bodies as structure: bodies of answers exactly, bodies of requests by value.

`parse_exact` splits the text of an answer into its value, a `JsonStyle` (spacing and escapes) and *literals*. These are
the texts of the few strings that the style does not explain, by JSON pointer. If the three do not give the exact bytes
again (duplicate keys, NaN, odd spacing, deep nesting), `parse_exact` returns None. `parse_by_value` is for requests,
which are compared by value. Both keep the literal text of numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.codecs.yaml.tree import Number, Tree
from aquila.cassettes.matching.canonical_json import refuse_constant, refuse_repeated_keys
from aquila.cassettes.matching.request_key import content_type_of, is_json
from aquila.cassettes.model import Interaction, RecordedRequest

MAX_DEPTH = 60  # containers inside containers; a deeper body is stored as text
MAX_KEY = 100  # characters of a key; `yaml.emitter.LONG_KEY` is the limit of simple keys in YAML

_WORDS = {None: "null", True: "true", False: "false"}
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
_LINE = re.compile(r"[\[{]\n([ ]{1,8}|\t)(?![ \t])")  # the indentations that have a word, see `JsonStyle.from_words`
_SPACED = re.compile(r'(?>(?:[^",:]++|"[^"\\]*(?:\\.[^"\\]*)*")*)[,:] ')  # the first comma or colon has a blank
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_MARKUP = re.compile("[<>&\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """How a JSON text is written. The default is how the openai SDK writes.

    ``indent`` is the white space of one level, empty for JSON on one line. ``spaced`` puts a blank after colons and
    commas. ``ascii`` escapes all characters that are not ASCII, ``html`` the characters ``<``, ``>`` and ``&`` and the
    line separators U+2028 and U+2029, ``slash`` the character ``/``. ``newline`` ends the text with a line break.
    """

    indent: str = ""
    spaced: bool = False
    ascii: bool = False
    html: bool = False
    slash: bool = False
    newline: bool = False

    def __str__(self) -> str:
        """The style in words, as a cassette has it; empty for the default."""
        words = [name for name in ("spaced", "ascii", "html", "slash", "newline") if getattr(self, name)]
        if self.indent:
            words.insert(0, f"indent {len(self.indent)}" if self.indent[0] == " " else "indent tab")
        return ", ".join(words)

    @classmethod
    def from_words(cls, words: str) -> JsonStyle:
        """Build a style from the words of ``__str__``. Raises ValueError for unknown words."""
        indent = ""
        flags: dict[str, bool] = {}
        for word in words.split(", "):
            if word in ("spaced", "ascii", "html", "slash", "newline"):
                flags[word] = True
            elif word == "indent tab":
                indent = "\t"
            elif re.fullmatch("indent [1-8]", word):
                indent = " " * int(word[-1])
            else:
                raise ValueError(f"no style of JSON: {word[:40]!r}")
        return cls(indent, **flags)


@dataclass(frozen=True, slots=True)
class ExactJson:
    """A JSON text as structure. After `put_literals`, `write_json` writes exactly the same text again."""

    value: Tree
    style: JsonStyle
    literals: Mapping[str, str] = field(default_factory=dict)


def parse_exact(body: bytes) -> ExactJson | None:
    """Parse a body as JSON. Returns None if it is no JSON, or if the result would not give the exact bytes again."""
    try:
        text = body.decode()
        value = _parse_json(text)
        _check_structure(value, MAX_DEPTH)
    except (ValueError, RecursionError):
        return None
    style = _style_of(text)
    literals: dict[str, str] = {}
    written = write_json(value, style)
    if written != text or ("\\" in text and _SURROGATE.search(write_json(value, JsonStyle()))):
        found = _find_literals(value, text, written)
        if found is None or sum(map(len, found.values())) > 200 + len(text) // 4:
            return None
        literals = found
        again = _parse_json(text)
        if write_json(put_literals(again, literals), style) != text:
            return None
    return ExactJson(value, style, literals)


def parse_by_value(request: RecordedRequest) -> Tree | None:
    """Parse the body of a request as a JSON value. Returns None if the body must be kept byte for byte.

    Requests that are read as JSON are compared by value, so white space and escapes are not kept. A body that a
    value cannot represent (a key that occurs twice, NaN, half a surrogate pair) is kept byte for byte.
    """
    if not is_json(content_type_of(request.headers)[1], request.body):
        return None
    try:
        value = json.loads(
            request.body.decode(),
            parse_int=Number,
            parse_float=Number,
            parse_constant=refuse_constant,
            object_pairs_hook=refuse_repeated_keys,
        )
        _check_structure(value, MAX_DEPTH)
        write_json(value, JsonStyle()).encode()  # half a surrogate pair has no UTF-8
    except (ValueError, RecursionError):
        return None
    return value


def with_compact_request(interaction: Interaction) -> Interaction:
    """Return an interaction whose request has the body that it will have once its YAML cassette is loaded again."""
    if isinstance(interaction.request, StoredRequest):
        return interaction  # a body in a file keeps its bytes
    value = parse_by_value(interaction.request)
    if value is None:
        return interaction
    request = replace(interaction.request, body=write_json(value, JsonStyle()).encode())
    return interaction if request == interaction.request else replace(interaction, request=request)


def write_json(value: Tree, style: JsonStyle) -> str:
    """Write a value as JSON text. Raises ValueError for a value that JSON has no form for."""
    encode = _string_encoder(style)
    if style.indent:
        text = _write_indented(value, encode, style.indent, "\n")
    else:
        text = _write_flat(value, encode, *((", ", ": ") if style.spaced else (",", ":")))
    return text + "\n" if style.newline else text


# These are not closures in `write_json`: a recursive closure refers to itself, and the garbage collector, which would
# free it, is paused while a cassette is read.


def _write_flat(value: Tree, encode: Callable[[str], str], comma: str, colon: str) -> str:
    kind = type(value)
    if kind is str:
        return encode(value)
    if kind is Number:
        return str(value)
    if kind is dict:
        members = [encode(key) + colon + _write_flat(inner, encode, comma, colon) for key, inner in value.items()]
        return "{" + comma.join(members) + "}"
    if kind is list:
        return "[" + comma.join([_write_flat(inner, encode, comma, colon) for inner in value]) + "]"
    return _constant_text(value)


def _write_indented(value: Tree, encode: Callable[[str], str], indent: str, outer: str) -> str:
    """Write a value on several lines. ``outer`` is a line break and the indentation of the line that ends the value."""
    if not value or (kind := type(value)) not in (dict, list):
        return _write_flat(value, encode, ",", ":")
    line = outer + indent
    if kind is dict:
        members = [
            line + encode(key) + ": " + _write_indented(inner, encode, indent, line) for key, inner in value.items()
        ]
        return "{" + ",".join(members) + outer + "}"
    return "[" + ",".join([line + _write_indented(inner, encode, indent, line) for inner in value]) + outer + "]"


def put_literals(value: Tree, literals: Mapping[str, str]) -> Tree:
    """Replace strings in a value by their literal texts, in place. Return the value, or a `Number` that replaces it.

    Raises ValueError for a wrong pointer or text.
    """
    for pointer, literal in literals.items():
        if not _STRING.fullmatch(literal):
            raise ValueError(f"not the text of a JSON string: {literal[:40]!r}")
        if not pointer:
            return Number(literal)
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        holder = value
        try:
            for part in way:
                holder = holder[int(part) if type(holder) is list else part]
            key: Any = int(last) if type(holder) is list else last
            if type(holder[key]) is not str:
                raise KeyError(key)
            holder[key] = Number(literal)
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"no string at {pointer[:80]!r}") from None
    return value


def _parse_json(text: str) -> Tree:
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse_constant)


def _check_structure(value: Tree, depth: int) -> None:
    """Raise ValueError for a value that YAML should not hold as structure: too deep, or with unsuitable keys."""
    inner: Iterable[Tree]
    if type(value) is dict:
        if any(len(key) > MAX_KEY or _SURROGATE.search(key) for key in value):
            raise ValueError("key")
        inner = value.values()
    elif type(value) is list:
        inner = value
    else:
        return
    if not depth:
        raise ValueError("depth")
    for child in inner:
        _check_structure(child, depth - 1)


def _style_of(text: str) -> JsonStyle:
    escapes = set(_ESCAPE.findall(text)) if "\\" in text else set()
    line = _LINE.match(text)
    return JsonStyle(
        indent=line[1] if line else "",
        spaced=not line and _SPACED.match(text) is not None,
        ascii=text.isascii() and any(escape >= "\\u007f" for escape in escapes if len(escape) > 2),
        html=not escapes.isdisjoint({_HTML["<"], _HTML[">"], _HTML["&"]}),
        slash="\\/" in escapes,
        newline=text.endswith("\n"),
    )


def _string_encoder(style: JsonStyle) -> Callable[[str], str]:
    base: Callable[[str], str] = encode_basestring_ascii if style.ascii else encode_basestring
    if not (style.html or style.slash):
        return base

    def encode(text: str) -> str:
        encoded = base(text)
        if style.html:
            encoded = _MARKUP.sub(lambda found: _HTML[found[0]], encoded)
        return encoded.replace("/", "\\/") if style.slash else encoded

    return encode


def _constant_text(value: Tree) -> str:
    try:
        return _WORDS[value]
    except (KeyError, TypeError):
        raise ValueError("JSON has no form for binary data") from None


def _find_literals(value: Tree, text: str, written: str) -> dict[str, str] | None:
    """Return the strings that the style does not explain. None if the texts differ in more than values of strings."""
    theirs, ours = _STRING.findall(text), _STRING.findall(written)
    places = list(_string_pointers(value, ""))
    if not len(theirs) == len(ours) == len(places) or _STRING.split(text) != _STRING.split(written):
        return None
    literals: dict[str, str] = {}
    for (pointer, is_key), literal, plain in zip(places, theirs, ours, strict=True):
        if literal != plain or _SURROGATE.search(json.loads(literal)):
            if is_key:
                return None
            literals[pointer] = literal
    return literals


def _string_pointers(value: Tree, pointer: str) -> Iterator[tuple[str, bool]]:
    """Yield the pointers of all strings in a value, in the order of the text, and whether the string is a key."""
    if type(value) is str:
        yield pointer, False
    elif type(value) is dict:
        for key, inner in value.items():
            here = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            yield here, True
            yield from _string_pointers(inner, here)
    elif type(value) is list:
        for index, inner in enumerate(value):
            yield from _string_pointers(inner, f"{pointer}/{index}")
