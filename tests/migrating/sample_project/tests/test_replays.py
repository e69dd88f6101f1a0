"""Tests whose cassettes were recorded long ago."""

import asyncio
import json

import httpx
import pytest
import requests

URL = "https://api.openai.com/v1/chat/completions"


def asked(prompt):
    return {"model": "gpt", "messages": [{"role": "user", "content": prompt}]}


@pytest.mark.vcr
def test_plain(ask, vcr):
    assert ask("hi") == "from the cassette"
    assert vcr.all_played
    assert vcr.play_count == 1


@pytest.mark.vcr
def test_with_a_prompt_that_has_changed_since(ask):
    assert ask("something else") == "from the cassette"


@pytest.mark.vcr
def test_what_a_cassette_has(ask, vcr):
    assert len(vcr) == 2
    assert [request.uri for request in vcr.requests] == [URL, "https://api.example.com/items?page=2&tag=a"]
    first, second = vcr.requests
    assert (first.method, first.url, first.host, first.path, first.query) == (
        "POST",
        URL,
        "api.openai.com",
        first.path,
        [],
    )
    assert second.query == [("page", "2"), ("tag", "a")]
    assert (second.scheme, second.protocol, second.port) == ("https", "https", 443)
    assert json.loads(first.body) == asked("hi")
    assert first.headers["content-type"] == "application/json"
    assert "authorization" not in first.headers
    assert vcr.responses[0]["status"] == {"code": 200, "message": "OK"}
    assert json.loads(vcr.responses[0]["body"]["string"])["choices"]
    assert first in vcr
    assert not vcr.all_played
    ask("hi")
    assert first not in vcr
    assert vcr.play_counts == {0: 1}
    assert (vcr.play_count, vcr.all_played) == (1, False)
    assert requests.get("https://api.example.com/items?tag=a&page=2", timeout=1).json() == {"items": []}
    assert (vcr.play_count, vcr.all_played) == (2, True)
    assert vcr._path.endswith("test_what_a_cassette_has.yaml")
    assert vcr.record_mode == "none"
    assert vcr.responses_of(first)[0]["status"]["code"] == 200
    assert (vcr.rewound, vcr.write_protected, str(vcr)) == (True, True, "<Cassette containing 2 recorded response(s)>")


@pytest.mark.vcr
class TestOfAClass:
    def test_one(self, ask):
        assert ask("hi") == "from the cassette"

    def test_two(self, vcr):
        async def post():
            async with httpx.AsyncClient() as client:
                return (await client.post(URL, json=asked("hi"))).json()

        assert asyncio.run(post())["choices"][0]["message"]["content"] == "from the cassette"
        assert vcr.all_played

    @pytest.mark.vcr(allow_playback_repeats=True)
    def test_repeats(self, ask, vcr):
        assert [ask("hi") for _ in range(3)] == ["from the cassette"] * 3
        assert vcr.play_counts == {0: 3}


@pytest.mark.vcr
@pytest.mark.parametrize("model", ["gpt/4", "a:b"])
def test_each(ask, model):
    assert ask("hi", model) == "from the cassette"


@pytest.mark.vcr
def test_the_official_client(monkeypatch):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(api_key="sk-of-the-suite")
    answer = client.chat.completions.create(**asked("hi"))
    assert answer.choices[0].message.content == "from the cassette"


def test_without_a_mark(vcr):
    assert vcr is None


@pytest.mark.vcr
def test_that_misses(ask):
    ask("hi", path="/v1/other")


@pytest.mark.vcr
def test_that_asks_too_often(ask):
    ask("hi")
    ask("hi")


@pytest.mark.vcr
def test_without_a_cassette(ask):
    ask("hi")


@pytest.mark.vcr
@pytest.mark.xfail(reason="known")
def test_that_is_expected_to_fail(ask):
    assert ask("hi") == "something else"


@pytest.mark.vcr
def test_that_skips(ask):
    ask("hi")
    pytest.skip("after it asked")


@pytest.mark.vcr
def test_that_sets_a_cookie():
    session = requests.Session()
    assert session.get("https://api.example.com/packed", timeout=1).text == "unpacked"
