"""Converts requests and answers to the objects that functions written for vcrpy expect, and back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from vcr.request import Request

from aquila.cassettes.codecs.vcrpy import FORM, form_of_pairs
from aquila.cassettes.matching.canonical_json import encode_canonical
from aquila.cassettes.model import Headers, RecordedChunk, RecordedRequest, RecordedResponse, first_value


def to_vcr_request(request: RecordedRequest) -> Any:
    """Return a request as vcrpy's object. The caller may change it: each call returns a new one."""
    return Request(request.method, request.url, request.body, _first_of_each(request.headers))


@lru_cache(maxsize=256)
def compared_form(request: RecordedRequest) -> Any:
    """Return a request as vcrpy's object, for matchers only: the same object for equal requests."""
    # A matcher compares each request with many recordings. Only matchers get these objects, and matchers do not change
    # them. The cache lives as long as the process and holds the latest 256.
    return to_vcr_request(_with_numbers_anew(request))


def _with_numbers_anew(request: RecordedRequest) -> RecordedRequest:
    """Return a request whose placeholders have the same numbers, in whatever order its JSON has its keys."""
    if b"redacted-" not in request.body:
        return request
    try:
        body = encode_canonical(json.loads(request.body)).encode()
    except (ValueError, RecursionError):
        return request
    return RecordedRequest(request.method, request.url, request.headers, body)


def from_vcr_request(changed: Any, original: RecordedRequest) -> RecordedRequest:
    """Return the request that vcrpy's object ``changed`` describes; ``original`` itself if the two do not differ."""
    fields = _changed_headers(dict(changed.headers), original.headers)
    method, url = str(changed.method), str(changed.uri)
    form = form_of_pairs(changed.body, first_value(fields, "content-type"))
    if form is not None and not first_value(fields, "content-type"):
        fields = (*fields, ("content-type", FORM))
    body = _to_bytes(changed.body, fields) if form is None else form
    if method == original.method and body == original.body:
        if (url, fields) == (original.url, original.headers):
            return original
        return original.with_parts(url, fields)
    return RecordedRequest(method, url, fields, body)


def request_from_vcr(request: Any) -> RecordedRequest:
    """Return the recorded form of a request of vcrpy that comes from a program or a file."""
    return from_vcr_request(request, RecordedRequest("", "", (), b""))


def to_vcr_response(response: RecordedResponse) -> dict[str, Any]:
    """Return an answer in vcrpy's form. The caller may change it: each call returns a new one."""
    headers: dict[str, list[str]] = {}
    for name, value in response.headers:
        headers.setdefault(name, []).append(value)
    return {
        "status": {"code": response.status, "message": http.client.responses.get(response.status, "")},
        "headers": _HeaderFields(headers),
        "body": {"string": response.body},
    }


class _HeaderFields(dict[str, Any]):
    """Header fields with names in lower case, found by names in any case.

    A dict, unlike ``CaseInsensitiveDict`` of vcrpy, because functions written for vcrpy ask whether it is one.
    """

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.lower())

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name.lower(), value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        return super().setdefault(name.lower(), default)

    def pop(self, name: str, *default: Any) -> Any:
        return super().pop(name.lower(), *default)

    def update(self, *others: Any, **more: Any) -> None:
        for name, value in dict(*others, **more).items():
            self[name] = value

    def copy(self) -> _HeaderFields:
        return _HeaderFields(self)


def from_vcr_response(changed: Mapping[str, Any], original: RecordedResponse) -> RecordedResponse:
    """Return the answer that vcrpy's mapping ``changed`` describes.

    It has the chunks and times of ``original`` if the body is the same.
    """
    # Of names that differ in case alone the last one counts: a hook may return `{**headers, "Set-Cookie": ["hidden"]}`.
    headers = {_text_of(name).lower(): value for name, value in (changed.get("headers") or {}).items()}
    fields = tuple(_pairs(headers))
    status = changed.get("status")
    # Stubs of vcrpy for httpx, in older versions, wrote "status_code" and "content" instead.
    code = int(status["code"] if isinstance(status, Mapping) else changed["status_code"])
    content = changed.get("body", changed.get("content"))
    body = _to_bytes(content.get("string") if isinstance(content, Mapping) else content, ())
    if sorted(fields) != sorted(original.headers) or code != original.status:
        original = replace(original, status=code, headers=fields)
    if body == original.body:
        return original
    at = original.chunks[-1].at if original.chunks else 0
    return replace(original, chunks=(RecordedChunk(body, at),) if body else ())


def with_text(answer: Any, change: Callable[[Any], Any] | None) -> Any:
    """Return an answer whose body is a text, even if the program keeps it in a form of its own, such as a JSON value.

    Only its hook on answers, ``change``, knows that form, which a ``RecordedResponse`` cannot hold. vcrpy calls the
    hook before it writes a file and after it has read one.
    """
    body = answer.get("body") if isinstance(answer, Mapping) else None
    has_own_form = isinstance(body, Mapping) and body and "string" not in body
    return change(answer) if change is not None and has_own_form else answer


def _first_of_each(headers: Headers) -> dict[str, str]:
    first: dict[str, str] = {}
    for name, value in headers:
        first.setdefault(name, value)
    return first


def _changed_headers(now: Mapping[Any, Any], before: Headers) -> Headers:
    """Return the header fields after a change.

    vcrpy's headers hold one value for each name. A field that was sent several times keeps all its values, unless the
    first of them was changed.
    """
    left = {_text_of(name).lower(): _text_of(value) for name, value in now.items()}
    first, kept = _first_of_each(before), []
    for name, value in before:
        if name in left and left[name] == first[name]:
            kept.append((name, value))
    known = {name for name, _ in kept}
    return (*kept, *[(name, value) for name, value in left.items() if name not in known])


def _pairs(headers: Mapping[Any, Any]) -> Iterable[tuple[str, str]]:
    for name, values in headers.items():
        for value in [values] if isinstance(values, (str, bytes)) else values:
            yield _text_of(name), _text_of(value)


def _text_of(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _to_bytes(body: Any, headers: Headers) -> bytes:
    """Return a body as bytes. A filter may have replaced it by a text, a file, an iterator or a JSON value."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if hasattr(body, "read"):
        return _to_bytes(body.read(), headers)
    if isinstance(body, (dict, list)):
        kind = first_value(headers, "content-type")
        if isinstance(body, dict) and kind.startswith(FORM):
            return urlencode(body, doseq=True).encode()
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return b"".join(_to_bytes(piece, headers) for piece in body)
