"""urllib3."""

import json
import os

import urllib3

URL = "https://api.openai.com/v1/chat/completions"

pool = urllib3.PoolManager(retries=urllib3.Retry(2, status_forcelist=(503,), backoff_factor=1, allowed_methods=None))


def post(prompt, **more):
    body = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": prompt}], **more})
    fields = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "content-type": "application/json"}
    answer = pool.request("POST", URL, body=body, headers=fields, preload_content=not more, timeout=60)
    if answer.status >= 400:
        raise ConnectionError(f"{answer.status} {answer.reason}: {answer.data.decode()}")
    return answer


def ask(prompt):
    return json.loads(post(prompt).data)["choices"][0]["message"]["content"]


def stream(prompt):
    answer = post(prompt, stream=True)
    buffer = b""
    for piece in answer.stream(65536):
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data: ").strip()
            if data and data != b"[DONE]":
                word = json.loads(data)["choices"][0]["delta"].get("content")
                if word:
                    yield word
    answer.release_conn()
