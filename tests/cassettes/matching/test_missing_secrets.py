"""A request in which a secret was recorded, on a machine that lacks it."""

from __future__ import annotations

from typing import Any

import pytest

from aquila.cassettes.model import RecordedRequest
from tests.cassettes.matching.test_miss_message import KEY, explain, request

REMARK = "A secret was recorded in"
SEARCH = "https://search.example/find"


def search(key: str) -> RecordedRequest:
    return request(b"", f"{SEARCH}?q=Oslo&key={key}", "GET", ())


@pytest.mark.parametrize(
    ("recorded", "now", "place"),
    [
        (search(KEY), search(""), "query key"),
        (search(KEY), search("None"), "query key"),
        (search(KEY), request(b"", f"{SEARCH}?q=Oslo", "GET", ()), "query key"),
        (request({"q": "Oslo", "api_key": KEY}, SEARCH), request({"q": "Oslo", "api_key": None}, SEARCH), "api_key"),
    ],
)
def test_a_miss_names_the_setting_that_gives_a_replay_a_dummy(
    recorded: RecordedRequest, now: RecordedRequest, place: str
) -> None:
    text = explain(now, recorded)
    assert f"{REMARK} {place}, and there is none now." in text
    assert "\n  aquila_dummy_keys = NAME_OF_THE_VARIABLE\n" in text


@pytest.mark.parametrize(
    ("recorded", "now"),
    [
        (search(KEY), request(b"", f"{SEARCH}?q=Bergen&key={KEY[:-1]}8", "GET", ())),
        (search(""), search(KEY)),
        (search(KEY), request(b"", "https://search.example/of-another-kind?q=Oslo", "GET", ())),
        (request({"q": f"What is {KEY}?"}, SEARCH), request({"q": "What is it?"}, SEARCH)),
    ],
)
def test_a_miss_does_not_mention_a_secret_that_is_there_or_is_part_of_a_text(recorded: Any, now: Any) -> None:
    assert REMARK not in explain(now, recorded)


def bot(token: str, method: str = "getMe") -> RecordedRequest:
    return request({}, f"https://api.telegram.org/bot{token}/{method}")


RECORDED = bot("%5Bredacted%5D")  # as a cassette stores it


def test_a_miss_of_a_url_with_a_secret_in_its_path_names_the_setting() -> None:
    text = explain(bot("no-token"), RECORDED)
    assert f"{REMARK} path, and there is none now." in text
    assert "\n  aquila_dummy_keys = NAME_OF_THE_VARIABLE\n" in text
    for other in (bot("no-token", "sendMessage"), request({}, "https://api.telegram.org/botno-token/getMe", "PUT")):
        assert REMARK not in explain(other, RECORDED)


def test_a_miss_of_a_url_that_was_a_secret_names_a_dummy_that_is_a_url() -> None:
    text = explain(request({}, "https://hooks.example/none"), request({}, "%5Bredacted%5D"))
    assert "\n    URL: recorded [redacted], now another one\n" in text
    assert f"{REMARK} the URL, and there is none now." in text
    assert "\n  aquila_dummy_keys = NAME_OF_THE_VARIABLE=https://webhook.example/dummy\n" in text


def test_a_miss_of_a_request_to_a_url_that_is_a_secret_says_so() -> None:
    text = explain(request({"text": "two"}, "%5Bredacted%5D"), request({"text": "one"}, "%5Bredacted%5D"))
    assert "\n  requested  POST [redacted] (the URL is a secret)\n" in text


def test_secrets_of_a_path_are_found_in_linear_time() -> None:
    between = "/" + "a" * 30

    def path_with(*between_slashes: str) -> RecordedRequest:
        return request({}, f"https://api.example/x{between.join(between_slashes)}/end")

    recorded = path_with(*["%5Bredacted%5D"] * 12)
    assert f"{REMARK} path" in explain(path_with(*["none"] * 12), recorded)
    assert REMARK not in explain(path_with(*["none"] * 11), recorded)
    assert REMARK not in explain(path_with(*["none"] * 11, ""), recorded)
    # With a pattern, each of the secrets would end at each of two hundred places.
    assert REMARK not in explain(path_with(*["none"] * 200, "end/2?"), recorded)
