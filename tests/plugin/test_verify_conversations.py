"""``pytest --aquila-verify`` of conversations that live at the provider: live ids take the place of recorded ones."""

from __future__ import annotations

import json
from typing import Any

import openai  # so that runs within this process do not load it anew each time
import openai.types.responses  # noqa: F401
import pytest

import aquila.verifying.verification  # noqa: F401
from tests.support.server import Answer, Seen, json_answer
from tests.support.stateful_project import StatefulProject

CONVERSATION = """
    def test_it(aquila_cassette):
        assert converse("question", "one", "two") == "done after 2"
"""


def verify(stateful: StatefulProject) -> tuple[pytest.RunResult, list[dict[str, Any]]]:
    result = stateful.run(None, "--aquila-verify", "--aquila-verify-json=report.json")
    return result, json.loads((stateful.pytester.path / "report.json").read_text())["recordings"]


def test_a_conversation_is_asked_in_its_order_with_the_live_ids(stateful: StatefulProject) -> None:
    stateful.record(CONVERSATION).assert_outcomes(passed=1)
    stateful.api.restart()
    before = len(stateful.server.seen)
    result, rows = verify(stateful)
    assert result.ret == 0, result.stdout.str()
    assert [row["result"] for row in rows] == ["same", "same", "same"]
    assert stateful.sent_since(before) == ["POST /v1/responses"] * 3
    assert not stateful.api.refused
    recorded = stateful.path().read_text()
    live = [seen.json for seen in stateful.server.seen[before:]]
    for asked in live[1:]:
        assert asked["previous_response_id"] not in recorded
        assert asked["input"][0]["call_id"] not in recorded


@pytest.mark.slow
def test_what_goes_on_with_an_answer_that_is_another_now_is_not_verifiable(stateful: StatefulProject) -> None:
    stateful.record(CONVERSATION).assert_outcomes(passed=1)
    api = stateful.api

    def calls_no_tool(seen: Seen) -> Answer:
        body = {**seen.json}
        body.pop("tools", None)
        return api._respond(body)

    stateful.server._answers = calls_no_tool
    result, rows = verify(stateful)
    assert result.ret == 0, result.stdout.str()
    assert [row["result"] for row in rows] == ["same", "not_verifiable", "not_verifiable"]
    assert "no id in its place" in rows[1]["reason"]
    assert "an earlier request has failed" in rows[2]["reason"]
    stateful.server._answers = lambda seen: json_answer({"error": {"message": "no more"}}, 410)
    result, rows = verify(stateful)
    assert (result.ret, [row["result"] for row in rows]) == (9, ["critical", "not_verifiable", "not_verifiable"])


@pytest.mark.slow
def test_what_names_a_file_is_not_verifiable_and_no_file_is_sent_again(stateful: StatefulProject) -> None:
    tests = """
        def test_it(aquila_cassette):
            client = make_client()
            file = client.files.create(file=b"text", purpose="user_data")
            part = {"type": "input_file", "file_id": file.id}
            client.responses.create(model="m", input=[{"role": "user", "content": [part]}])
            client.files.delete(file.id)
    """
    stateful.record(tests).assert_outcomes(passed=1)
    before = len(stateful.server.seen)
    result, rows = verify(stateful)
    assert result.ret == 0
    assert stateful.sent_since(before) == []
    assert [row["result"] for row in rows] == ["skipped", "not_verifiable", "skipped"]
    reason = "it names an id from the answer of recording 1 of test_it.yaml, which is not asked again"
    assert rows[1]["reason"] == reason
    result.stdout.fnmatch_lines(["aquila: verify: nothing to ask"])


@pytest.mark.slow
def test_a_streamed_conversation_of_async_clients_goes_on_with_live_ids(stateful: StatefulProject) -> None:
    tests = """
        import asyncio

        async def last_response(client, **options):
            stream = await client.responses.create(model="m", tools=TOOLS, stream=True, **options)
            return [event.response async for event in stream if event.type == "response.completed"][-1]

        async def converse_async(question):
            async with openai.AsyncOpenAI(base_url=URL, api_key="not needed") as client:
                answer = await last_response(client, input=question, reasoning={"effort": "low"})
                call = next(item for item in answer.output if item.type == "function_call")
                result = {"type": "function_call_output", "call_id": call.call_id, "output": "x"}
                thought = {"type": "item_reference", "id": answer.output[0].id}
                return await last_response(client, previous_response_id=answer.id, input=[thought, result])

        def test_it(aquila_cassette):
            async def both():
                return await asyncio.gather(converse_async("one"), converse_async("two"))
            assert len(asyncio.run(both())) == 2
    """
    stateful.record(tests).assert_outcomes(passed=1)
    stateful.api.restart()
    before = len(stateful.server.seen)
    result, rows = verify(stateful)
    assert result.ret == 0, result.stdout.str()
    assert [row["result"] for row in rows] == ["same"] * 4
    assert stateful.sent_since(before) == ["POST /v1/responses"] * 4
    assert not stateful.api.refused
