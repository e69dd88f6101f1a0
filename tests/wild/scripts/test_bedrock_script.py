"""boto3, answered by a script: Bedrock's Converse and ConverseStream."""

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config
from heard import LONG, Heard, cases, check, in_pieces

MODEL = "amazon.nova-lite-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Hi!"}]}]
FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "guardrail_intervened",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {"tools": [{"toolSpec": {"name": "weather", "description": "x", "inputSchema": {"json": SCHEMA}}}]}
ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def client():
    return boto3.client("bedrock-runtime", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}))


def converse(**options):
    answer = client().converse(modelId=MODEL, **{"messages": MESSAGES, **options})
    message = answer["output"]["message"]
    assert message["role"] == "assistant"
    blocks, usage = message["content"], answer["usage"]
    text = "".join(block.get("text", "") for block in blocks)
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    thoughts = [block["reasoningContent"]["reasoningText"] for block in blocks if "reasoningContent" in block]
    return heard(
        text,
        tuple((use["name"], use["input"]) for use in uses),
        "".join(thought["text"] for thought in thoughts),
        answer["stopReason"],
        (usage["inputTokens"], usage["outputTokens"]),
    )


def converse_streamed(**options):
    stream = client().converse_stream(modelId=MODEL, **{"messages": MESSAGES, **options})["stream"]
    texts, thoughts, calls, stop, usage = [], [], {}, None, None
    for event in stream:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            calls[start["contentBlockIndex"]] = (start["start"]["toolUse"]["name"], [])
        elif "contentBlockDelta" in event:
            delta = event["contentBlockDelta"]["delta"]
            texts.append(delta.get("text", ""))
            thoughts.append(delta.get("reasoningContent", {}).get("text", ""))
            if "toolUse" in delta:
                calls[event["contentBlockDelta"]["contentBlockIndex"]][1].append(delta["toolUse"]["input"])
        elif "messageStop" in event:
            stop = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage = event["metadata"]["usage"]
    called = tuple((name, in_pieces(pieces)) for name, pieces in calls.values())
    counts = (usage["inputTokens"], usage["outputTokens"])
    return heard("".join(texts), called, "".join(thoughts), stop, counts)


def heard(text, calls, reasoning, stop, usage):
    refusal, text = (text, "") if stop == "guardrail_intervened" else ("", text)
    return Heard(text, calls, reasoning, refusal, stop, usage)


@cases(converse, converse_streamed)
def test_converse(aquila_script, case, ask):
    check(aquila_script, case, ask, FINISHES)


@pytest.mark.parametrize("ask", [converse, converse_streamed])
def test_a_conversation_with_a_tool(aquila_script, ask):
    aquila_script.reply("Let me look.", tool_calls=[("weather", LONG)]).reply("Rain.")
    first = ask(toolConfig=TOOLS, system=[{"text": "Be brief."}])
    assert first.calls == (("weather", LONG),)
    use = {"toolUseId": "t", "name": "weather", "input": LONG}
    result = {"toolUseId": "t", "content": [{"text": "rain"}, {"json": {"degrees": 9}}]}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": [{"text": first.text}, {"toolUse": use}]},
        {"role": "user", "content": [{"toolResult": result}, {"text": "Well?"}]},
    ]
    assert ask(messages=messages, toolConfig=TOOLS).text == "Rain."
    before, sent = aquila_script.requests
    assert before.messages[0].text == "Be brief."
    assert (sent.model, sent.tools[0].name, sent.tools[0].parameters) == (MODEL, "weather", SCHEMA)
    assert [message.role for message in sent.messages] == ["user", "assistant", "tool", "user"]
    assert sent.messages[1].tool_calls[0].arguments == LONG
    assert (sent.messages[2].text, sent.messages[2].tool_call_id) == ('rain{"degrees":9}', "t")


@pytest.mark.parametrize("ask", [converse, converse_streamed])
@pytest.mark.parametrize("status", ERRORS)
def test_errors(aquila_script, status, ask):
    aquila_script.error(status, "Too bad")
    with pytest.raises(botocore.exceptions.ClientError, match="Too bad") as caught:
        ask()
    assert caught.value.response["Error"]["Code"] == ERRORS[status]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["ResponseMetadata"]["RequestId"]
