"""Compares a message that a client sends with the one that was recorded, and says where they differ.

JSON is compared by value, without what the rules leave out, and without ``event_id``, which clients make anew for each
message. In JSON and in other texts the placeholders of secrets are numbered anew, and fresh values are replaced as the
rules say. Bytes are compared as they are. If the rules do not compare bodies, all messages are equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aquila.cassettes.matching import fresh_value_placeholders, request_key
from aquila.cassettes.matching.canonical_json import encode_canonical, leave_out, parse_canonical
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import CanonicalRequest
from aquila.cassettes.matching.uploaded_file import describe_content
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.found_secrets import number_placeholders_anew


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """A message as it is compared: redacted, and without what the rules leave out.

    ``data`` is its redacted bytes. ``value`` is its parsed JSON if that is an object or a list, without what the rules
    leave out, else None. ``event_id`` is the id at the top of the JSON, which is not compared.
    """

    data: bytes
    is_text: bool
    value: Any = None
    event_id: str | None = None

    @property
    def is_json(self) -> bool:
        """Whether it is an object or a list in JSON."""
        return self.value is not None

    def with_value(self, value: Any) -> FrameMessage:
        """Return the message with other JSON."""
        return FrameMessage(self.data, self.is_text, value, self.event_id)


class MessageReader:
    """Parses and compares messages by the rules of a session. ``redact`` removes secrets from their bytes."""

    def __init__(self, rules: MatchRules, redact: Callable[[bytes], bytes]) -> None:
        self.rules = rules
        self._redact = redact
        self.compares = "body" in rules.match_on
        """Whether the content of messages is compared, and not only their number."""
        # The message that was parsed last, a memo of one entry. Not thread-safe, like the replay that owns the reader.
        self._last: tuple[bytes, bool] = b"", False
        self._last_message = FrameMessage(b"", is_text=False)

    def read(self, data: bytes, is_text: bool) -> FrameMessage:
        """Parse a message that the client sends, or a recorded one."""
        # A message and its recorded counterpart are parsed one after the other, and mostly have the same bytes.
        if self._last != (data, is_text):
            self._last_message = self._read(data, is_text)
            self._last = data, is_text
        return self._last_message

    def _read(self, data: bytes, is_text: bool) -> FrameMessage:
        data = self._redact(data)
        if data.lstrip()[:1] not in (b"{", b"["):
            return FrameMessage(data, is_text)
        try:
            value = parse_canonical(data.decode())
        except (ValueError, RecursionError):
            return FrameMessage(data, is_text)
        event_id = value.pop("event_id", None) if isinstance(value, dict) else None
        leave_out(value, self.rules)
        return FrameMessage(data, is_text, value, event_id if isinstance(event_id, str) else None)

    def are_equal(self, recorded: FrameMessage, now: FrameMessage) -> bool:
        """Return whether two messages are the same by the rules."""
        if recorded is now or not self.compares:
            return True
        if recorded.is_text != now.is_text or recorded.is_json != now.is_json:
            return False
        if recorded.data == now.data and not recorded.is_json:
            return True
        try:
            if recorded.is_json:
                return self._write_json(recorded.value) == self._write_json(now.value)
        except RecursionError:  # nested too deeply
            return recorded.data == now.data
        return now.is_text and self._write_text(recorded.data) == self._write_text(now.data)

    def _write_json(self, value: Any) -> str:
        return encode_canonical(self._normalize_json(value))

    def _normalize_json(self, value: Any) -> Any:
        normalizer = self.rules.normalizer
        return (
            value if normalizer is None else fresh_value_placeholders.RequestNormalizer(normalizer).rewrite_json(value)
        )

    def _write_text(self, data: bytes) -> str:
        text = number_placeholders_anew(data.decode("utf-8", "surrogateescape"))
        normalizer = self.rules.normalizer
        return text if normalizer is None else fresh_value_placeholders.RequestNormalizer(normalizer).rewrite_text(text)

    def as_request(self, message: FrameMessage) -> RecordedRequest:
        """Return a message as the body of a request, so that ``matching`` can explain how two messages differ."""
        media = "application/json" if message.is_json else "text/plain" if message.is_text else ""
        body = json.dumps(message.value, default=str).encode() if message.is_json else message.data
        return RecordedRequest("GET", "ws://message", (("content-type", media),), body)

    def canonical_message(self, message: FrameMessage) -> CanonicalRequest:
        """Return the canonical form of a message. Only its kind and its body are set."""
        kind: request_key.BodyKind
        body: Any
        if message.is_json:
            kind, body = "json", self._normalize_json(message.value)
        elif message.is_text:
            kind, body = "text", self._write_text(message.data)
        else:
            kind, body = "bytes", describe_content(message.data)
        return CanonicalRequest(None, None, None, None, None, None, kind, body, digest="")
