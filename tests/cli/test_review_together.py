"""Reviews: decisions about several recordings at once, their lock, and the list of unrecorded tests."""

from __future__ import annotations

import json
from collections.abc import Callable

import anyio
import httpx
import pytest

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.review.kept_decisions import hold_reviews
from aquila.server.review_page.contents import Reading
from aquila.server.review_page.review_application import make_application
from tests.cli.conftest import Cassettes, conversation
from tests.cli.test_review import Terminal, answers, terminal, waiting  # noqa: F401 - fixtures
from tests.review.test_reviewing import open_review, write


def turn(said: str, answer: str, given: str, named: str | None = None) -> Interaction:
    """A request to the Responses API that continues the response ``named``."""
    body = {"model": "gpt-5-mini", "input": said, **({"previous_response_id": named} if named else {})}
    request = RecordedRequest(
        "POST",
        "https://api.openai.com/v1/responses",
        (("content-type", "application/json"),),
        json.dumps(body, separators=(",", ":")).encode(),
    )
    content = [{"type": "output_text", "text": answer}]
    output = [{"type": "message", "role": "assistant", "content": content}]
    data = json.dumps({"id": given, "object": "response", "status": "completed", "output": output}).encode()
    response = RecordedResponse(200, (("content-type", "application/json"),), (RecordedChunk(data, 4),), ended=4)
    return Interaction(request, response, "2026-11-24T12:00:00Z")


OLD = (
    turn("Hello", "Hello.", "resp_0a1b2c3d4e5f6071"),
    turn("And Rome?", "Sunny.", "resp_0a1b2c3d4e5f6072", "resp_0a1b2c3d4e5f6071"),
)
NEW = (
    turn("Good morning", "Good morning.", "resp_1a1b2c3d4e5f6071"),
    turn("And Rome?", "Rainy.", "resp_1a1b2c3d4e5f6072", "resp_1a1b2c3d4e5f6071"),
    turn("And Ulm?", "Foggy.", "resp_1a1b2c3d4e5f6073", "resp_1a1b2c3d4e5f6072"),
)


@pytest.fixture
def linked(cassettes: Cassettes) -> Cassettes:
    """A project in which three turns of a conversation wait, and an answer that has nothing to do with them."""
    cassettes.write("a.yaml", *OLD, conversation("name it", "A"))
    cassettes.write("a.pending.yaml", *NEW, conversation("name it", "B"))
    return cassettes


def test_the_turns_of_a_conversation_are_listed_as_one_conversation(linked: Cassettes) -> None:
    rows = linked.run("review", "--list", "--json").json
    of_conversation = {row["number"]: row["conversation"] for row in rows}
    assert of_conversation[1] == of_conversation[2] == of_conversation[3] is not None
    assert of_conversation[4] is None


def test_a_part_of_a_conversation_that_is_accepted_alone_is_named(linked: Cassettes) -> None:
    done = linked.run("review", "--accept", "a:2")
    assert done.code == 0
    assert "a: a part of a conversation was accepted; decide the rest too, which names its ids: a:1, a:3" in done.out
    assert "a part of a conversation" not in linked.run("review", "--accept", "a").out


@pytest.mark.slow
def test_one_key_accepts_a_whole_conversation(linked: Cassettes, terminal: Callable[..., Terminal]) -> None:  # noqa: F811
    place = terminal()
    first = place.wait_for("help\n")
    assert "one of 3 in a conversation" in " ".join(first.split())
    assert "C conversation of 3" in first
    then = place.press("C")
    assert "accepted all 3; u undoes" in then
    assert "[-A-]{+B+}" in then
    assert "in a conversation" not in then
    assert "undone: a #1, a #2, a #3" in place.press("u")
    place.press("C")
    place.press("r", "w write")
    place.send("w")
    assert place.end() == 0
    stored = [json.loads(one.response.body).get("id") for one in linked.read("a.yaml").interactions]
    assert stored == [*(f"resp_1a1b2c3d4e5f607{number}" for number in (1, 2, 3)), None]


def test_the_page_decides_a_whole_conversation_at_once(linked: Cassettes) -> None:
    review = open_review(("a", linked.folder / "a.pending.yaml", linked.folder))
    page = make_application(review, Reading(lambda item: None, lambda item: []), "aquila-token-0", lambda: None)  # type: ignore[arg-type,return-value]

    async def decide() -> httpx.Response:
        transport = httpx.ASGITransport(page, client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"x-aquila-token": "aquila-token-0"}
            asked = {"id": review.items[1].id, "choice": "accept", "was": None, "chain": True}
            return await client.post("/decide", json=asked, headers=headers)

    items = anyio.run(decide).json()["items"]
    assert [(item["chain"], item["choice"]) for item in items] == [(3, "accept")] * 3 + [(1, None)]


def test_the_page_mentions_tests_without_recordings(linked: Cassettes) -> None:
    review = open_review(("a", linked.folder / "a.pending.yaml", linked.folder))
    reading = Reading(lambda item: None, lambda item: [], lambda: ["1 test drifted: \x1b sk-proj-" + "9zT4" * 12])  # type: ignore[arg-type,return-value]
    page = make_application(review, reading, "aquila-token-0", lambda: None)

    async def look() -> httpx.Response:
        transport = httpx.ASGITransport(page, client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/review", headers={"x-aquila-token": "aquila-token-0"})

    (line,) = anyio.run(look).json()["besides"]
    assert line.startswith("1 test drifted: ")
    assert "9zT4" not in line


def test_equal_conversations_of_two_cassettes_are_separate(linked: Cassettes) -> None:
    review = open_review(
        *(write(linked.folder, name, OLD, NEW[:2]) for name in ("one", "two")),
    )
    assert [len(review.chain_of(item)) for item in review.items] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("accept", "a"), "accepted"),
        (("accept", "--yes"), "accepted"),
        (("mv", "a", "c"), "moved"),
        (("convert", "cassettes/a.pending.yaml", "--to", "msgpack", "--replace"), "converted"),
        (("prune", "--yes"), "removed"),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_while_a_review_is_open_other_commands_do_not_change_pending_recordings(
    words: tuple[str, ...],
    what: str,
    waiting: Cassettes,  # noqa: F811
) -> None:
    if words[0] == "prune":  # what waits is older than its cassette
        waiting.write("a.yaml", conversation("newer", "than that"))
    before = {path.name: path.read_bytes() for path in waiting.folder.glob("*.yaml")}
    with hold_reviews([waiting.folder]):
        done = waiting.run(*words)
    assert done.code == 2
    assert f"nothing was {what}: process " in done.err
    assert "reviews or changes the cassettes in" in done.err
    assert {path.name: path.read_bytes() for path in waiting.folder.glob("*.yaml")} == before
    assert waiting.run(*words).code == 0


def test_commands_that_change_no_pending_recording_work_beside_a_review(waiting: Cassettes) -> None:  # noqa: F811
    waiting.write("c.yaml", conversation("of no", "review"))
    with hold_reviews([waiting.folder]):
        assert waiting.run("accept", "a", "--dry-run").code == 0
        assert waiting.run("accept").code == 1  # it lists, since there is nobody to ask
        assert waiting.run("review", "--list").code == 1
        assert waiting.run("mv", "c", "d").code == 0
        assert waiting.run("convert", "cassettes/d.yaml", "--to", "msgpack").code == 0
    assert answers(waiting, "a.yaml") == ["At nine.", "Yes.", "gone"]
