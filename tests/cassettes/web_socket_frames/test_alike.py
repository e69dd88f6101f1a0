"""Two messages of a provider are the same except for the ids and moments that it makes anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aquila.cassettes.web_socket_frames.alike import same_but_for_ids


def encode(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.mark.parametrize(
    ("one", "other", "ids"),
    [
        ({"a": 1}, {"a": 1}, {}),
        (b"\xff\x00", b"\xff\x00", {}),
        ({"item": {"id": "item_1"}}, {"item": {"id": "item_2"}}, {"item_1": "item_2"}),
        ({"id": "x1", "item_id": "x1"}, {"id": "y2", "item_id": "y2"}, {"x1": "y2"}),
        ([{"responseId": "x1"}], [{"responseId": "y2"}], {"x1": "y2"}),
        ({"id": "sess_abcdefghijkl"}, {"id": "sess_mnopqrstuvwx"}, {"sess_abcdefghijkl": "sess_mnopqrstuvwx"}),
        ({"id": "x1", "item_id": "x2"}, {"id": "y1", "item_id": "y1"}, None),
        ({"voice_id": "alloy"}, {"voice_id": "echo"}, None),
        ({"paid": "on1"}, {"paid": "off2"}, None),
        ({"id": "x", "expires_at": 1}, {"id": "x", "expires_at": 2}, {}),
        ({"id": "x1", "item_id": "x1"}, {"id": "y1", "item_id": "z1"}, None),
        ({"id": "x"}, {"id": 1}, None),
        ({"text": "x"}, {"text": "y"}, None),
        ({"at": 1}, {"at": 2}, None),
        ({"a": True}, {"a": 1}, None),
        ({"a": [1]}, {"a": [1, 2]}, None),
        ({"a": 1}, {"b": 1}, None),
        (b"\xff", {"a": 1}, None),
        (b"no JSON", b"not JSON", None),
    ],
)
def test_messages_are_the_same_if_only_ids_and_moments_differ(one: Any, other: Any, ids: dict[str, str] | None) -> None:
    assert same_but_for_ids(encode(one), encode(other)) == ids


def test_messages_that_are_nested_too_deeply_are_not_compared() -> None:
    deep = b'{"a":' * 100_000
    assert same_but_for_ids(deep + b"1", deep + b"2") is None
