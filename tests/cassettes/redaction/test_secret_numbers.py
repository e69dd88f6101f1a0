"""Secrets are numbered in each request: two differ from one used twice, and another in the same place is the same."""

import base64
import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aquila
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.found_secrets import number_placeholders_anew
from aquila.cassettes.redaction.redactor import Redactor
from aquila.errors import CassetteMiss
from tests.support.runs import name_upstream, separate_run
from tests.support.upstream import Answer, upstream

RULES = MatchRules()


def made_up(seed: int) -> str:
    """A key of no known shape."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "Q7z-" + "".join(random.Random(seed).choices(letters, k=24))


FORMS: dict[str, tuple[str, Callable[[Sequence[str]], str]]] = {
    "json": ("application/json", lambda texts: json.dumps({"messages": [{"content": text} for text in texts]})),
    "text": ("text/plain", "\n".join),
    "form": ("application/x-www-form-urlencoded", lambda texts: urlencode([("q", text) for text in texts])),
}


def request_with(secrets: Sequence[str], form: str, seed: int = 0) -> RecordedRequest:
    media, write = FORMS[form]
    texts = [f"key {secret} is number {number}" for number, secret in enumerate(secrets)]
    url = "https://x.example/v1?" + urlencode({"q": f"with {secrets[0]}"})
    return RecordedRequest("POST", url, (("content-type", media),), write(texts).encode())


@pytest.mark.parametrize("form", FORMS)
@given(
    one=st.lists(st.integers(0, 3), min_size=1, max_size=6), other=st.lists(st.integers(0, 3), min_size=1, max_size=6)
)
def test_requests_are_equal_if_and_only_if_they_use_their_secrets_alike(
    form: str, one: list[int], other: list[int]
) -> None:
    def key(uses: list[int], machine: int) -> str:
        mine = {made_up(machine + number): f"value of KEY_{number}" for number in range(4)}
        return key_of(Redactor(mine).redact_request(request_with([list(mine)[use] for use in uses], form)), RULES)

    def pattern(uses: list[int]) -> list[int]:
        return [uses.index(use) for use in uses]

    assert (key(one, 1000) == key(other, 2000)) == (pattern(one) == pattern(other))
    assert key(one, 1000) == key(one, 3000)


@given(st.permutations(["a", "b", "c"]), st.permutations(["x", "y"]))
def test_the_order_of_fields_makes_no_other_request(fields: list[str], parameters: list[str]) -> None:
    secrets = {name: made_up(number) for number, name in enumerate("abcxy")}
    redactor = Redactor(dict.fromkeys(secrets.values(), "x"))

    def key(fields: Sequence[str], parameters: Sequence[str]) -> str:
        body = json.dumps({name: secrets[name] for name in fields}).encode()
        query = urlencode([(name, secrets[name]) for name in parameters])
        media = (("content-type", "application/json"),)
        return key_of(
            redactor.redact_request(RecordedRequest("POST", f"https://x.example/?{query}", media, body)), RULES
        )

    assert key(fields, parameters) == key("abc", "xy")


def test_a_secret_has_one_number_however_it_is_written() -> None:
    secret, other = 'tr0ub4"dor\\/3', made_up(1)
    form = urlencode({"q": secret, "api_key": secret})
    basic = "Basic " + base64.b64encode(f":{secret}".encode()).decode()
    body = json.dumps({"a": other, "b": secret, "c": json.dumps([secret]), "d": form, "e": basic})
    request = RecordedRequest("POST", "https://x.example/", (("content-type", "application/json"),), body.encode())
    clean = json.loads(Redactor({secret: "x", other: "y"}).redact_request(request).body)
    form, basic = "q=[redacted-2]&api_key=[redacted-2]", "Basic [redacted-2]"
    assert clean == {"a": "[redacted]", "b": "[redacted-2]", "c": '["[redacted-2]"]', "d": form, "e": basic}


def test_a_response_goes_on_with_the_numbers_of_its_request() -> None:
    one, two, three = (made_up(number) for number in range(3))
    request = RecordedRequest("POST", f"https://x.example/?q={one}", (), f"{two} {one}".encode())
    response = RecordedResponse(200, (), (RecordedChunk(f"{three} {two} {one} {three}".encode()),))
    redactor = Redactor(dict.fromkeys((one, two, three), "x"))
    clean = redactor.redact_interaction(Interaction(request, response, "2026-01-02T03:04:05Z"))
    assert clean.request.url == "https://x.example/?q=%5Bredacted%5D"
    assert clean.request.body == b"[redacted-2] [redacted]"
    assert clean.response.body == b"[redacted-3] [redacted-2] [redacted] [redacted-3]"
    assert redactor.redact_interaction(clean) is clean


@given(st.lists(st.integers(1, 12) | st.sampled_from(["a ", "%5Bredacted-3%5D", "[redact"])))
def test_numbering_anew_is_in_order_and_settled(parts: list[Any]) -> None:
    text = "".join(part if isinstance(part, str) else f"[redacted-{part}] ".replace("-1]", "]") for part in parts)
    anew = number_placeholders_anew(text)
    assert number_placeholders_anew(anew) == anew
    numbers = [int(match[1] or 1) for match in re.finditer(r"redacted(?:-([0-9]+))?(?:\]|%5D)", anew)]
    first = list(dict.fromkeys(numbers))
    assert first == list(range(1, len(first) + 1))


# --- in sessions


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project of its own that records from a server, which says the second and a third secret again."""
    fresh = itertools.count(100)

    def answer(path: str, body: bytes) -> Answer:
        secrets = json.loads(body)["secrets"]
        text = json.dumps({"echo": secrets[-1], "session_secret": made_up(next(fresh)), "all": secrets})
        return Answer(headers={"content-type": "application/json"}, chunks=[text.encode()])

    with upstream(answer) as running, separate_run(tmp_path):
        name_upstream("server", running.transport())
        monkeypatch.setenv("AQUILA_UPSTREAM", "server")
        yield running


def ask(client: Any, *secrets: str) -> Any:
    return client.post("https://provider.example/v1/x", json={"secrets": secrets}).json()


def set_keys(monkeypatch: pytest.MonkeyPatch, machine: int) -> tuple[str, str]:
    monkeypatch.setenv("ONE_KEY", made_up(machine))
    monkeypatch.setenv("TWO_KEY", made_up(machine + 1))
    return made_up(machine), made_up(machine + 1)


def test_two_secrets_do_not_answer_for_one_that_is_used_twice(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = set_keys(monkeypatch, 0)
    with aquila.use_cassette("x", transport="record"), aquila.http_client() as client:
        ask(client, one, two)
    one, two = set_keys(monkeypatch, 10)
    with aquila.use_cassette("x", transport="replay"), aquila.http_client() as client:
        assert ask(client, one, two)["echo"] == "[redacted-2]"
        with pytest.raises(CassetteMiss):
            ask(client, one, one)


def test_a_conversation_that_sends_placeholders_back_is_replayed(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an answer held is sent on, in another order: in a replay that is a placeholder, not a secret."""

    def converse(one: str, two: str) -> None:
        with aquila.http_client() as client:
            first = ask(client, one, two)
            second = ask(client, first["echo"], one, two, *first["all"])
            third = ask(client, second["session_secret"], two, first["session_secret"], one)
            ask(client, *third["all"], second["echo"], one)

    with aquila.use_cassette("x", transport="record"):
        converse(*set_keys(monkeypatch, 0))
    with aquila.use_cassette("x", transport="replay") as session:
        converse(*set_keys(monkeypatch, 10))
    assert session.all_played


def test_a_machine_without_keys_has_one_dummy_for_all(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with aquila.use_cassette("x", transport="record"), aquila.http_client() as client:
        ask(client, *set_keys(monkeypatch, 0))
    monkeypatch.delenv("ONE_KEY")
    monkeypatch.delenv("TWO_KEY")
    with aquila.use_cassette("x", transport="replay"), aquila.http_client() as client:
        ask(client, "aquila-no-key", "aquila-no-key")
