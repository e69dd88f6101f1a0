"""requests."""

import json
import os

import requests

URL = "https://api.openai.com/v1/chat/completions"


def headers():
    return {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}


def body(prompt, **more):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": prompt}], **more}


def word_of(line):
    """The text that a line of the stream brings."""
    data = line.removeprefix("data: ").strip()
    if not data or data == "[DONE]":
        return None
    return json.loads(data)["choices"][0]["delta"].get("content")


def ask(prompt):
    answer = requests.post(URL, json=body(prompt), headers=headers(), timeout=60)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


def stream(prompt):
    asked = body(prompt, stream=True)
    with requests.post(URL, json=asked, headers=headers(), stream=True, timeout=60) as answer:
        for line in answer.iter_lines(decode_unicode=True):
            if word := word_of(line):
                yield word
