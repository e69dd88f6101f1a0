"""boto3: Bedrock's converse."""

import boto3

MODEL = "amazon.nova-lite-v1:0"
SCHEMA = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
TOOLS = {"tools": [{"toolSpec": {"name": "look_up", "description": "x", "inputSchema": {"json": SCHEMA}}}]}


def look_up(animal):
    return "it flies high"


def said(prompt):
    return [{"role": "user", "content": [{"text": prompt}]}]


def ask(prompt):
    client = boto3.client("bedrock-runtime")
    return client.converse(modelId=MODEL, messages=said(prompt))["output"]["message"]["content"][0]["text"]


def stream(prompt):
    client = boto3.client("bedrock-runtime")
    for event in client.converse_stream(modelId=MODEL, messages=said(prompt))["stream"]:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"]["text"]


def tools(prompt):
    client = boto3.client("bedrock-runtime")
    messages = said(prompt)
    first = client.converse(modelId=MODEL, messages=messages, toolConfig=TOOLS)["output"]["message"]
    results = []
    for block in first["content"]:
        use = block["toolUse"]
        results.append({"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": look_up(use["input"])}]}})
    messages += [first, {"role": "user", "content": results}]
    last = client.converse(modelId=MODEL, messages=messages, toolConfig=TOOLS)
    return last["output"]["message"]["content"][0]["text"]
