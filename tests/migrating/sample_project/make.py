"""Write the cassettes that the suite replays, by vcrpy's own serializers: ``python make.py``."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import yaml

from conftest import LinesSerializer

HERE = Path(__file__).parent / "tests"
CHAT = "https://api.openai.com/v1/chat/completions"
ITEMS = "https://api.example.com/items"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "from the cassette"}}
    ],
}


def row(uri: str, answer: Any, *, method: str = "GET", body: Any = None, status: int = 200, **headers: str) -> Any:
    kind = headers.pop("kind", "application/json")
    return {
        "request": {
            "method": method,
            "uri": uri,
            "body": json.dumps(body) if isinstance(body, dict) else body,
            "headers": {"Content-Type": [kind], "User-Agent": ["old"]} if body is not None else {},
        },
        "response": {
            "status": {"code": status, "message": "OK" if status == 200 else "Error"},
            "headers": {"Content-Type": ["application/json"], **{name: [value] for name, value in headers.items()}},
            "body": {"string": answer if isinstance(answer, (str, bytes)) else json.dumps(answer)},
        },
    }


def chat(model: str = "gpt") -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return row(CHAT, ANSWER, method="POST", body=body, **{"x-request-id": "req_1"})


def number(count: int, uri: str = ITEMS, **more: Any) -> Any:
    return row(uri, {"number": count}, **more)


def post(count: int, body: Any, **more: Any) -> Any:
    return number(count, method="POST", body=body, **more)


FORM = "application/x-www-form-urlencoded"
REPLAYS = {
    **{
        name: [chat()]
        for name in (
            *("test_plain", "test_with_a_prompt_that_has_changed_since", "TestOfAClass.test_one"),
            *("TestOfAClass.test_two", "TestOfAClass.test_repeats", "test_the_official_client", "test_that_misses"),
            *("test_that_asks_too_often", "test_that_is_expected_to_fail", "test_that_skips"),
        )
    },
    "test_what_a_cassette_has": [chat(), row(f"{ITEMS}?page=2&tag=a", {"items": []})],
    "test_each[gpt-4]": [chat("gpt/4")],
    "test_each[a-b]": [chat("a:b")],
    "test_that_sets_a_cookie": [
        row("https://api.example.com/packed", gzip.compress(b"unpacked", mtime=0), **{"Content-Encoding": "gzip"})
    ],
}
FILTERS = {
    "test_an_attribute_that_the_hook_has_set": [number(1, f"{ITEMS}?page=1")],
    "test_an_option_of_a_mark": [number(1, f"{ITEMS}?day=any"), number(2, f"{ITEMS}?day=any")],
    "test_parameters_of_a_body": [
        post(1, {"user": "me", "password": "hidden"}),
        post(2, "user=me&password=hidden", kind=FORM),
    ],
    "test_a_path_that_a_filter_changes": [number(1, "https://api.example.com/sessions/of_old/items")],
    "test_a_matcher_of_the_suite": [post(1, {"model": "a"}), post(2, {"model": "b"})],
    "test_bodies_that_are_compared": [post(1, {"a": 1, "b": 2})],
    "test_bodies_that_are_compared_and_differ": [post(1, {"a": 1})],
    **{
        name: [number(1)]
        for name in ("test_any_host", "test_any_port", "test_several_cassettes", "test_an_option_that_nobody_knows")
    },
    "more": [number(10, "https://api.example.com/more")],
    "even-more": [number(20, "https://api.example.com/even-more")],
    "shared": [number(1), number(2, "https://api.example.com/other")],
    "test_an_answer_that_a_filter_drops": [number(1, status=500), number(2)],
}


def write(folder: str, name: str, rows: Any, serialize: Any = yaml.safe_dump, suffix: str = "yaml") -> None:
    path = HERE / folder / f"{name}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(serialize({"version": 1, "interactions": rows}))


def main() -> None:
    for name, rows in REPLAYS.items():
        write("cassettes/test_replays", name, rows)
    for name, rows in FILTERS.items():
        write("cassettes/test_filters", name, rows)
    write("cassettes/test_filters", "test_json", [number(1)], json.dumps, "json")
    write("cassettes/test_filters", "test_a_format_of_the_suite", [number(1)], LinesSerializer.serialize, "lines")
    write("folder/kept", "test_its_matchers_and_its_cassettes", [number(1)])
    write("folder/kept", "test_the_nearest_mark_wins", [number(1)])


if __name__ == "__main__":
    main()
