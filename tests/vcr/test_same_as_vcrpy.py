"""Code that was written for vcrpy does the same with ``aquila.vcr``: each test runs with both."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import vcr as vcrpy

from aquila import vcr as ours
from tests.support.upstream import Answer, Upstream, upstream

Ask = Callable[..., Any]


@pytest.fixture(params=[vcrpy, ours], ids=["vcrpy", "aquila"])
def vcr(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """Answers with the number of the request, and what it was asked."""
    monkeypatch.chdir(root.parent)

    def answer(path: str, body: bytes) -> Answer:
        said = {"number": len(running.requests), "path": path, "body": body.decode()}
        return Answer(headers={"content-type": "application/json", "x-one": "1"}, chunks=[json.dumps(said).encode()])

    with upstream(answer) as running:
        yield running


def by_httpx(url: str, body: Any = None, **options: Any) -> Any:
    with httpx.Client() as client:
        return client.request("GET" if body is None else "POST", url, json=body, **options).json()


def by_requests(url: str, body: Any = None, **options: Any) -> Any:
    return requests.request("GET" if body is None else "POST", url, json=body, timeout=60, **options).json()


@pytest.fixture(params=[by_httpx, pytest.param(by_requests, marks=pytest.mark.slow)], ids=["httpx", "requests"])
def ask(request: pytest.FixtureRequest) -> Ask:
    function: Ask = request.param
    return function


def misses(ask: Ask, *arguments: Any, **options: Any) -> bool:
    """Whether a request gets no answer: by an error of vcrpy, or a miss."""
    try:
        ask(*arguments, **options)
    except BaseException as error:
        if type(error).__name__ not in ("CassetteMiss", "PlayedOut", "CannotOverwriteExistingCassetteException"):
            raise
        return True
    return False


def test_a_cassette_is_recorded_once_and_replayed(vcr: Any, ask: Ask, server: Upstream) -> None:
    with vcr.use_cassette("kept/one.yaml") as cassette:
        assert [ask(f"{server.url}/a?x=1", 1)["number"], ask(f"{server.url}/b")["number"]] == [1, 2]
        assert len(cassette) == 2
    assert Path("kept/one.yaml").exists()
    with vcr.use_cassette("kept/one.yaml") as cassette:
        assert (cassette.play_count, cassette.all_played, len(cassette)) == (0, False, 2)
        assert ask(f"{server.url}/b")["number"] == 2
        assert (dict(cassette.play_counts), cassette.play_count, cassette.all_played) == ({1: 1}, 1, False)
        assert cassette.requests[1] not in cassette
        assert cassette.requests[0] in cassette
        assert ask(f"{server.url}/a?x=1", 2)["number"] == 1  # contents are not compared
        assert (cassette.play_count, cassette.all_played) == (2, True)
        assert misses(ask, f"{server.url}/c")
        assert misses(ask, f"{server.url}/b")  # it was played
        first = cassette.requests[0]
        assert (first.uri, first.url, first.method, first.host) == (
            *[f"{server.url}/a?x=1"] * 2,
            *("POST", "127.0.0.1"),
        )
        assert (first.path, first.query, first.scheme, first.protocol) == ("/a", [("x", "1")], "http", "http")
        assert f"{first.port}" == server.url.rpartition(":")[2]
        assert json.loads(first.body) == 1
        assert first.headers["Content-Type"] == "application/json"
        answer = cassette.responses[0]
        assert (answer["status"], json.loads(answer["body"]["string"])["number"]) == ({"code": 200, "message": "OK"}, 1)
        assert answer["headers"]["x-one"] == ["1"]
        assert cassette.responses_of(cassette.requests[0])[0]["status"]["code"] == 200
        assert cassette.record_mode == "once"
        assert (Path(cassette._path).name, cassette.rewound, cassette.write_protected) == ("one.yaml", True, True)
        assert str(cassette) == "<Cassette containing 2 recorded response(s)>"
        assert [len(row) for row in cassette.data] == [2, 2]
    assert len(server.requests) == 2


def test_a_large_body_that_was_recorded_can_be_read_after_the_block(vcr: Any, server: Upstream) -> None:
    with vcr.use_cassette("large.yaml", record_mode="all") as cassette:
        answer = by_httpx(f"{server.url}/a", "x" * 300_000)
    assert json.loads(cassette.requests[0].body) == "x" * 300_000
    assert json.loads(cassette.responses[0]["body"]["string"]) == answer


@pytest.mark.parametrize(
    ("mode", "answers"), [("none", [1, None]), ("once", [1, None]), ("new_episodes", [1, 2]), ("all", [2, 3])]
)
def test_each_record_mode_replays_and_records_alike(
    mode: str, answers: list[int | None], vcr: Any, ask: Ask, server: Upstream
) -> None:
    with vcr.use_cassette("x.yaml"):
        ask(f"{server.url}/a")
    with vcr.use_cassette("x.yaml", record_mode=mode):
        for path, number in zip("ab", answers, strict=True):
            if number is None:
                assert misses(ask, f"{server.url}/{path}")
            else:
                assert ask(f"{server.url}/{path}")["number"] == number
    with vcr.use_cassette("x.yaml", record_mode=vcr.mode.NONE) as cassette:
        assert [json.loads(each["body"]["string"])["number"] for each in cassette.responses] == [
            number for number in answers if number is not None
        ]


def test_a_matcher_sees_equal_secrets_in_a_body_with_its_keys_in_another_order(
    vcr: Any, ask: Ask, server: Upstream
) -> None:
    def same_json(one: Any, other: Any) -> bool:
        return bool(json.loads(one.body) == json.loads(other.body))

    recorder = vcr.VCR(match_on=["method", "json"])
    recorder.register_matcher("json", same_json)
    secrets = {"api_key": "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT", "password": "kW5xY7zA9bC1"}
    with recorder.use_cassette("secrets.yaml", record_mode="once"):
        ask(server.url, secrets)
    with recorder.use_cassette("secrets.yaml", record_mode="none"):
        assert ask(server.url, dict(reversed(secrets.items())))["number"] == 1


def test_a_recorder_has_options_that_each_cassette_may_change(vcr: Any, ask: Ask, server: Upstream) -> None:
    recorder = vcr.VCR(cassette_library_dir="library", match_on=["method", "path"], path_transformer=str.lower)
    with recorder.use_cassette("One.yaml"):
        ask(f"{server.url}/a?x=1")
    assert Path("library/one.yaml").exists()
    with recorder.use_cassette("one.yaml"):
        assert ask(f"{server.url}/a?x=2")["number"] == 1
    with recorder.use_cassette("one.yaml", match_on=["method", "path", "query"]):
        assert misses(ask, f"{server.url}/a?x=2")
    recorder.match_on = ["uri"]
    with recorder.use_cassette("one.yaml"):
        assert misses(ask, f"{server.url}/a?x=2")
    recorder.record_mode = "new_episodes"
    with recorder.use_cassette("one.yaml"):
        assert ask(f"{server.url}/a?x=2")["number"] == 2
    recorder.register_matcher("parity", lambda one, other: (len(one.path) - len(other.path)) % 2 == 0)
    with recorder.use_cassette("one.yaml", match_on=["parity"]):
        assert [ask(f"{server.url}/{path}")["number"] for path in ("xxx", "xxxxx", "x")] == [1, 2, 3]
    with pytest.raises(ValueError, match="sometimes"), recorder.use_cassette("one.yaml", record_mode="sometimes"):
        pass
    with pytest.raises(KeyError, match="moon"), recorder.use_cassette("one.yaml", match_on=["moon"]):
        pass


def test_bodies_are_compared_if_a_matcher_says_so(vcr: Any, ask: Ask, server: Upstream) -> None:
    with vcr.use_cassette("x.yaml"):
        ask(f"{server.url}/a", {"a": 1, "b": 2})
    with vcr.use_cassette("x.yaml", additional_matchers=["body"], allow_playback_repeats=True):
        assert misses(ask, f"{server.url}/a", {"a": 1, "b": 3})
        assert [ask(f"{server.url}/a", {"b": 2, "a": 1})["number"] for _ in range(3)] == [1, 1, 1]


def test_the_first_recording_answers_all_repeats(vcr: Any, ask: Ask, server: Upstream) -> None:
    with vcr.use_cassette("x.yaml"):
        assert [ask(f"{server.url}/a")["number"] for _ in range(2)] == [1, 2]
    with vcr.use_cassette("x.yaml", allow_playback_repeats=True) as cassette:
        assert [ask(f"{server.url}/a")["number"] for _ in range(3)] == [1, 1, 1]
    assert cassette.play_counts == {0: 3}
    assert not cassette.all_played


def test_filters_are_in_force_before_anything_is_compared_and_stored(vcr: Any, ask: Ask, server: Upstream) -> None:
    seen: list[Any] = []

    def take_id(request: Any) -> Any:
        seen.append((dict(request.query).get("key"), request.headers.get("x-trace"), request.body))
        request.uri = re.sub(r"/id-\d+", "/id", request.uri)
        return request

    filters = {
        "filter_query_parameters": [
            "key",
            ("who", "me"),
            ("day", lambda key, value, request: f"{key}-of-{request.method}"),
        ],
        "filter_post_data_parameters": [("secret", "taken"), "time"],
        "filter_headers": ["authorization", ("x-trace", "none")],
        "before_record_request": take_id,
        "match_on": ["method", "uri", "body"],
    }

    def go(number: int) -> Any:
        url = f"{server.url}/id-{number}?key=k{number}&who=w{number}&day=m{number}"
        body = {"q": 1, "secret": number, "time": number}
        return ask(url, body, headers={"Authorization": f"Bearer {number}", "X-Trace": f"{number}"})

    with vcr.use_cassette("x.yaml", **filters) as cassette:
        sent = go(1)
        assert (sent["path"], json.loads(sent["body"])) == (
            "/id-1?key=k1&who=w1&day=m1",
            {"q": 1, "secret": 1, "time": 1},
        )
        stored = cassette.requests[0]
        assert stored.uri == f"{server.url}/id?day=day-of-POST&who=me"
        assert json.loads(stored.body) == {"q": 1, "secret": "taken"}
        assert "authorization" not in stored.headers
    assert seen[0][:2] == (None, "none")
    assert json.loads(seen[0][2]) == {"q": 1, "secret": "taken"}
    with vcr.use_cassette("x.yaml", **filters) as cassette:
        assert go(2) == sent
        assert cassette.all_played
        assert misses(ask, f"{server.url}/id-3?who=w&day=n", {"q": 1})


def test_a_request_that_a_filter_drops_is_sent_and_not_recorded(vcr: Any, ask: Ask, server: Upstream) -> None:
    recorder = vcr.VCR(before_record_request=lambda request: None if request.path == "/token" else request)
    for count in (1, 2):
        with recorder.use_cassette("x.yaml") as cassette:
            assert ask(f"{server.url}/token")["number"] == (1 if count == 1 else 3)
            assert ask(f"{server.url}/kept")["number"] == 2
            assert len(cassette) == 1
    assert [path for path, _ in server.requests] == ["/token", "/kept", "/token"]


def test_a_filter_may_return_another_request(vcr: Any, ask: Ask, server: Upstream) -> None:
    def renew(request: Any) -> Any:
        return vcr.Request("POST", request.uri, b"always", {"Content-Type": "text/plain"})

    with vcr.use_cassette("x.yaml", before_record_request=renew, match_on=["method", "body"]):
        assert ask(f"{server.url}/a", 1)["number"] == 1
    with vcr.use_cassette("x.yaml", before_record_request=[renew], match_on=["method", "body"]) as cassette:
        assert ask(f"{server.url}/a", 2)["number"] == 1
        assert (cassette.requests[0].method, cassette.requests[0].body) == ("POST", b"always")


def test_answers_are_filtered_where_they_are_stored(vcr: Any, ask: Ask, server: Upstream) -> None:
    def change(response: Any) -> Any:
        said = json.loads(response["body"]["string"])
        if said["path"] == "/left-out":
            return None
        response["body"]["string"] = json.dumps({**said, "number": "hidden"}).encode()
        response["headers"]["x-one"] = ["2"]
        return response

    recorder = vcr.VCR(before_record_response=change)
    with recorder.use_cassette("x.yaml") as cassette:
        assert [ask(f"{server.url}/{path}")["number"] for path in ("a", "left-out")] == [1, 2]
        assert len(cassette) == 1
    with recorder.use_cassette("x.yaml") as cassette:
        assert ask(f"{server.url}/a")["number"] == "hidden"
        assert cassette.responses[0]["headers"]["x-one"] == ["2"]
        assert misses(ask, f"{server.url}/left-out")
    assert "hidden" in Path("x.yaml").read_text()


def test_a_value_that_is_hidden_in_the_file_is_compared_and_replayed_as_it_was(
    vcr: Any, ask: Ask, server: Upstream
) -> None:
    options = {
        "filter_sensitive_data": {"<WHO>": "me-at-home", "<NUMBER>": lambda request, response: None},
        "match_on": ["method", "uri", "body"],
    }
    for _ in range(2):
        with vcr.use_cassette("x.yaml", **options):
            assert ask(f"{server.url}/a?who=me-at-home", {"q": "me-at-home"})["path"] == "/a?who=me-at-home"
        assert "me-at-home" not in Path("x.yaml").read_text()
        assert "<WHO>" in Path("x.yaml").read_text()
    with vcr.use_cassette("x.yaml", record_mode="new_episodes", **options):
        assert [ask(f"{server.url}/{path}?who=me-at-home", {"q": "me-at-home"})["number"] for path in "ab"] == [1, 2]
    assert "me-at-home" not in Path("x.yaml").read_text()
    with vcr.use_cassette("x.yaml", record_mode="none", **options) as cassette:
        assert ask(f"{server.url}/b?who=me-at-home", {"q": "me-at-home"})["number"] == 2
        assert len(cassette) == 2


def test_hooks_change_interactions_where_they_are_saved_and_loaded(vcr: Any, ask: Ask, server: Upstream) -> None:
    def number(response: Any, value: int | None = None) -> int:
        said = json.loads(response["body"]["string"])
        if value is not None:
            response["body"]["string"] = json.dumps({**said, "number": value}).encode()
        return int(said["number"])

    def save(request: Any, response: Any) -> Any:
        number(response, number(response) + 100)
        return None if request.path == "/left-out" else (request, response)

    def load(request: Any, response: Any, cassette: Any) -> Any:
        number(response, number(response) + 1000)
        return request, response

    with vcr.use_cassette("x.yaml", before_save_interaction=[save]):
        assert [ask(f"{server.url}/{path}")["number"] for path in ("a", "left-out")] == [1, 2]
    with vcr.use_cassette("x.yaml", after_load_interaction=load) as cassette:
        assert len(cassette) == 1
        assert ask(f"{server.url}/a")["number"] == 1101


@pytest.mark.parametrize("options", [{"ignore_hosts": ["127.0.0.1"]}, {"ignore_localhost": True}])
def test_requests_to_ignored_hosts_are_not_recorded(
    options: dict[str, Any], vcr: Any, ask: Ask, server: Upstream
) -> None:
    for number in (1, 2):
        with vcr.use_cassette("x.yaml", **options) as cassette:
            assert ask(f"{server.url}/a")["number"] == number
            assert len(cassette) == 0


def test_functions_of_all_kinds_are_decorated(vcr: Any, server: Upstream, tmp_path: Path) -> None:
    recorder = vcr.VCR(cassette_library_dir=str(tmp_path / "library"), path_transformer=lambda path: f"{path}.yaml")

    @recorder.use_cassette
    def bare() -> Any:
        return by_httpx(f"{server.url}/a")

    @recorder.use_cassette("named")
    async def asynchronous() -> Any:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{server.url}/b")).json()

    @recorder.use_cassette(inject_cassette=True)
    def injected(cassette: Any, path: str) -> Any:
        return by_httpx(f"{server.url}/{path}"), len(cassette)

    class Holder:
        @recorder.use_cassette("method", inject_cassette=True)
        async def method(self, cassette: Any) -> Any:
            return self is not None and len(cassette)

    for _ in range(2):
        assert bare()["number"] == 1
        assert asyncio.run(asynchronous())["number"] == 2
        assert injected("c") == ({"number": 3, "path": "/c", "body": ""}, 1)
        assert asyncio.run(Holder().method()) == 0
    assert sorted(path.name for path in (tmp_path / "library").glob("*.yaml")) == [
        "bare.yaml",
        "injected.yaml",
        "named.yaml",
    ]
    assert len(server.requests) == 3


def test_a_generator_gets_its_cassette_which_is_open_while_it_runs(vcr: Any, server: Upstream) -> None:
    class Holder:
        @vcr.use_cassette("x.yaml", inject_cassette=True)
        def method(self, cassette: Any, path: str) -> Iterator[Any]:
            got = yield by_httpx(f"{server.url}/{path}")["number"]
            yield by_httpx(f"{server.url}/{got}")["number"]
            return len(cassette)

    for _ in range(2):
        generator = Holder().method("a")
        assert [next(generator), generator.send("b")] == [1, 2]
        with pytest.raises(StopIteration) as end:
            next(generator)
        assert end.value.value == 2
    assert len(server.requests) == 2


def test_an_asynchronous_generator_gets_its_cassette_too(server: Upstream) -> None:
    @ours.use_cassette("x.yaml", inject_cassette=True)
    async def ask_twice(cassette: Any) -> AsyncIterator[Any]:
        yield by_httpx(f"{server.url}/a")["number"]
        yield len(cassette)

    async def collect() -> list[Any]:
        return [each async for each in ask_twice()]

    assert [asyncio.run(collect()) for _ in range(2)] == [[1, 1], [1, 1]]
    assert len(server.requests) == 1


def test_a_function_may_say_where_the_cassette_of_a_decorated_one_is(vcr: Any, server: Upstream) -> None:
    recorder = vcr.VCR(func_path_generator=lambda function: f"by/{function.__name__}.yaml")

    @recorder.use_cassette()
    def it() -> Any:
        return by_httpx(f"{server.url}/a")["number"]

    assert [it(), it()] == [1, 1]
    assert Path("by/it.yaml").exists()


def test_unused_recordings_are_dropped_if_an_option_says_so(vcr: Any, server: Upstream) -> None:
    with vcr.use_cassette("x.yaml"):
        for path in "ab":
            by_httpx(f"{server.url}/{path}")
    for drops, paths in ((False, ["/a", "/b", "/c"]), (True, ["/a", "/d"])):
        with vcr.use_cassette("x.yaml", record_mode="new_episodes", drop_unused_requests=drops):
            by_httpx(f"{server.url}/a")
            by_httpx(f"{server.url}{paths[-1]}")
        with vcr.use_cassette("x.yaml", record_mode="none") as cassette:
            assert sorted(request.path for request in cassette.requests) == paths


def test_unused_recordings_are_dropped_though_nothing_is_recorded(vcr: Any, server: Upstream) -> None:
    with vcr.use_cassette("x.yaml"):
        for path in "ab":
            by_httpx(f"{server.url}/{path}")
    with vcr.use_cassette("x.yaml", record_mode="new_episodes", drop_unused_requests=True):
        by_httpx(f"{server.url}/a")
    with vcr.use_cassette("x.yaml", record_mode="none") as cassette:
        assert [request.path for request in cassette.requests] == ["/a"]


def test_a_block_needs_a_path(vcr: Any, server: Upstream) -> None:
    with pytest.raises(TypeError, match="needs a path when it"), vcr.use_cassette():
        pass


def test_the_defaults_of_a_recorder_are_those_of_the_moment_or_of_the_call(vcr: Any, server: Upstream) -> None:
    recorder = vcr.VCR(match_on=["path"])
    late, now = recorder.use_cassette("x.yaml"), recorder.use_cassette("x.yaml", with_current_defaults=True)
    with late:
        by_httpx(f"{server.url}/a?x=1")
    recorder.match_on = ["uri"]
    with now:
        assert by_httpx(f"{server.url}/a?x=2")["number"] == 1
    with late:
        assert misses(by_httpx, f"{server.url}/a?x=2")


def test_all_methods_of_a_test_case_are_decorated(vcr: Any, server: Upstream, tmp_path: Path) -> None:
    recorder = vcr.VCR(cassette_library_dir=str(tmp_path / "library"), record_mode="once")

    class TestCase(recorder.test_case()):  # type: ignore[misc]
        def test_it(self) -> Any:
            return by_httpx(f"{server.url}/a")

    assert [TestCase().test_it()["number"] for _ in range(2)] == [1, 1]
