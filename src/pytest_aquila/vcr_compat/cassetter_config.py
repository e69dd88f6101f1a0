"""cassetter's configuration as options of ``aquila.vcr`` and settings of Aquila."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import vcr
else:
    lazy_modules(globals(), "aquila: vcr")

MATCHERS = {"method": "method", "uri": "uri", "headers": "headers", "body": "raw_body", "json_body": "body"}
"""From cassetter's matchers to vcrpy's."""
DEFAULT_MATCHERS = ("method", "uri")
_QUERY = ("api_key", "apikey", "token", "access_token", "client_secret", "x-amz-credential", "x-amz-signature")
_QUERY_OF_AWS = "x-amz-security-token"
_BODY = ("access_token", "refresh_token", "client_secret", "password", "api_key", "api-key")
_FILTERED = "[FILTERED]"
MEANINGLESS = frozenset(
    {"intercept", "compare", "before_compare_response", "observe_compare", "before_record_ws_frame", "observe_timeout"}
)
"""Options without an effect here."""
COMPARING = ("match_on", "additional_matchers", "uri_normalizer")
"""Options that say what is compared."""
OF_MARKS = frozenset(
    {
        "record_mode",
        "max_age",
        "on_expiry",
        "ignore_hosts",
        "match_on",
        "cassette_dir",
        "additional_matchers",
        "on_unplayed",
    }
)
"""The options that a mark may have."""


@dataclasses.dataclass(slots=True)
class RawRequest:
    """The argument of the hook ``before_record_request``, with cassetter's fields."""

    method: str
    uri: str
    headers: dict[str, list[str]]
    body: bytes | None


@dataclasses.dataclass(slots=True)
class RawResponse:
    """The argument of the hook ``before_record_response``, with cassetter's fields."""

    status: int
    headers: dict[str, list[str]]
    body: bytes | None


def options_of(config: Any) -> dict[str, Any]:
    """Return the options that a configuration sets. It is a mapping, or an object ``Cassetter``; None means unset."""
    if isinstance(config, Mapping):
        given = dict(config)
    else:
        given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in given.items() if value is not None}


def recorder_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``aquila.vcr`` for those of cassetter."""
    scrub = _CassetterScrubber(options)
    hook, response_hook = options.get("before_record_request"), options.get("before_record_response")
    return {
        "match_on": [MATCHERS[name] for name in options.get("match_on") or DEFAULT_MATCHERS],
        "ignore_hosts": list(options.get("ignore_hosts") or ()),
        "ignore_localhost": bool(options.get("ignore_localhost")),
        "before_record_request": [*([_ask_request_hook(hook)] if hook else []), scrub.request],
        "before_record_response": [*([_ask_response_hook(response_hook)] if response_hook else []), scrub.response],
    }


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of Aquila for options of cassetter that vcrpy does not have."""
    settings: dict[str, Any] = {}
    if options.get("ignore_json_paths"):
        settings["ignore"] = list(options["ignore_json_paths"])
    if options.get("max_age"):
        settings["max_age"] = options["max_age"]
    if options.get("on_expiry") in ("warn", "fail"):
        settings["outdated"] = options["on_expiry"]
    if options.get("on_unplayed"):
        settings["unplayed"] = options["on_unplayed"]
    return settings


def compare_normalized(normalize: Callable[[str], str]) -> Callable[[Any, Any], bool]:
    """Return a matcher that compares URIs after ``normalize``, the option ``uri_normalizer``."""

    def uri(one: Any, other: Any) -> bool:
        return normalize(one.uri) == normalize(other.uri)

    return uri


def _is_skip(error: Exception) -> bool:
    """Whether a hook has raised ``cassetter.SkipRecording``, by the class name: cassetter may not be installed."""
    return any(base.__name__ == "SkipRecording" for base in type(error).__mro__)


def _ask_request_hook(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def change(request: Any) -> Any:
        headers = {name: [value] for name, value in request.headers.items()}
        try:
            raw = hook(RawRequest(request.method, request.uri, headers, request.body))
        except Exception as error:
            if _is_skip(error):
                return None
            raise
        return vcr.Request(raw.method, raw.uri, raw.body, {name: values[0] for name, values in raw.headers.items()})

    return change


def _ask_response_hook(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def change(response: Any) -> Any:
        headers = {name: list(values) for name, values in response["headers"].items()}
        try:
            raw = hook(RawResponse(response["status"]["code"], headers, response["body"]["string"]))
        except Exception as error:
            if _is_skip(error):
                return None
            raise
        return {"status": {"code": raw.status}, "headers": raw.headers, "body": {"string": raw.body or b""}}

    return change


class _CassetterScrubber:
    """Replaces the values that cassetter filters by its placeholder, so that recordings made by it still match."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._replacement = str(options.get("filter_replacement", _FILTERED))
        names = (*_QUERY, _QUERY_OF_AWS, *(options.get("filter_query_parameters") or ()))
        self._query = re.compile(rf"([?&](?:{'|'.join(map(re.escape, names))})=)[^&#]*", re.IGNORECASE)
        self._fields = frozenset(name.lower() for name in (*_BODY, *(options.get("body_scrub_patterns") or ())))

    def request(self, request: Any) -> Any:
        uri = self._query.sub(lambda found: found[1] + self._replacement, request.uri)
        if uri != request.uri:
            request.uri = uri
        request.body = self._scrub_body(request.body)
        return request

    def response(self, response: Any) -> Any:
        response["body"]["string"] = self._scrub_body(response["body"]["string"])
        return response

    def _scrub_body(self, body: Any) -> Any:
        if not isinstance(body, bytes):
            return body
        lowered = body.lower()
        if not any(name.encode() in lowered for name in self._fields):
            return body
        try:
            value = json.loads(body)
        except ValueError:
            return body
        scrubbed = self._scrub(value)
        return body if scrubbed == value else json.dumps(scrubbed, ensure_ascii=False, separators=(",", ":")).encode()

    def _scrub(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: self._replacement if name.lower() in self._fields else self._scrub(each)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [self._scrub(each) for each in value]
        return value


def additional_matchers(options: Mapping[str, Any]) -> Sequence[str]:
    """Return the matchers that a mark adds, under vcrpy's names."""
    return [MATCHERS[name] for name in options.get("additional_matchers") or ()]
