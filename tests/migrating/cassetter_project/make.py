"""Write the cassettes that the suite replays, as cassetter does: ``python make.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent / "tests"
ITEMS = "https://api.example.com/items"
AT = "2026-02-20T10:30:01Z"


def row(number: int, uri: str = ITEMS, body: Any = None) -> Any:
    headers = {"content-type": ["application/json"]}
    content = {"type": "json", "content": body} if body is not None else {"type": "none"}
    return {
        "request": {
            "method": "POST" if body else "GET",
            "uri": uri,
            "headers": headers if body else {},
            "body": content,
        },
        "response": {"status": 200, "headers": headers, "body": {"type": "json", "content": {"number": number}}},
        "recorded_at": AT,
    }


CASSETTES = {
    "test_plain": [row(1), row(2, body={"a": 1})],
    "test_bodies_that_are_compared": [row(1, body={"a": 1, "b": 2, "nonce": "[FILTERED]"})],
    "test_bodies_that_are_compared_and_differ": [row(1, body={"a": 1})],
    "test_what_is_filtered": [row(1, f"{ITEMS}?token=[FILTERED]&page=1&signature=[FILTERED]")],
    "test_a_hook": [row(1, "https://api.example.com/sessions/any/items")],
    **{
        name: [row(1)]
        for name in (
            *("TestOfAClass.test_one", "TestOfAClass.test_replays_again", "by-its-name", "test_a_miss"),
            *("test_each[a-b]", "test_each[c-d]", "../../library/test_marks/test_a_folder_of_its_own"),
        )
    },
}
TOML = f"""version = 1

[[interactions]]
recorded_at = "{AT}"

[interactions.request]
method = "GET"
uri = "{ITEMS}"
body_type = "none"

[interactions.request.headers]

[interactions.response]
status = 200
body_type = "json"
body_content = {json.dumps(json.dumps({"number": 1}))}

[interactions.response.headers]
content-type = ["application/json"]
"""

for name, rows in CASSETTES.items():
    path = HERE / "cassettes/test_marks" / f"{name}.yaml"
    path.resolve().parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"version": 1, "interactions": rows}))
(HERE / "cassettes/test_marks/in-toml.toml").write_text(TOML)
