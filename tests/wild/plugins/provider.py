"""What is recorded from: it repeats the prompt, and writes down that it was asked."""

import json
import os

import httpx2


def _answer(request):
    prompt = json.loads(request.content)["messages"][-1]["content"]
    with open(os.environ["WILD_CALLS"], "a") as calls:
        calls.write(prompt + "\n")
    message = {"role": "assistant", "content": f"about {prompt}"}
    return httpx2.Response(200, json={"choices": [{"index": 0, "message": message}], "usage": {"total_tokens": 3}})


def transport():
    return httpx2.MockTransport(_answer)
