"""Tasks to watch: they write with the small model of this machine, slowly enough to be read while they do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import aquila
from aquila.huey import SqliteHuey, checkpoint, current_task, follow
from aquila.huey.live import publish_jobs

FOLDER = Path(os.environ.get("WATCHING_FOLDER", ".demo/watching"))
FOLDER.mkdir(parents=True, exist_ok=True)
PACE = float(os.environ.get("WATCHING_PACE", "0.06"))
"""Seconds for each piece of text."""
MODEL = "smollm2-135m-instruct"

huey = SqliteHuey("articles", filename=str(FOLDER / "queue.db"))
publish_jobs(huey)  # the one line that lets jobs be watched


@huey.task(retries=1, retry_delay=3)
def write_article(topic: str, words: int = 120, api_key: str = "") -> str:
    """Write about a topic, as a stream that is stored as it comes."""
    prompt = f"Write a short encyclopedia article about {topic}."
    options = {"model": MODEL, "transport": "local", "max_output_tokens": int(words * 1.5), "temperature": 0.7}
    with aquila.stream(prompt, instructions="Write plain prose.", **options) as stream:
        for _ in follow(stream):
            time.sleep(PACE)
    return stream.response.text


@huey.task(retries=2, retry_delay=4)
def summarize(document: dict[str, str]) -> str:
    """Summarise a document. The first attempt meets a provider that is busy."""
    title = checkpoint("title", document["title"])
    if current_task().attempt == 1:
        raise ConnectionError("429 Too Many Requests: the provider asks to come again in 4 s")
    text = f"Summarise in two sentences: {title}. {document['body']}"
    return aquila.ask(text, model=MODEL, transport="local", max_output_tokens=60).text


@huey.task()
def count_words(document: dict[str, str]) -> int:
    """Work that asks no model."""
    return len(document["body"].split())


@huey.task()
def publish(document: dict[str, str]) -> None:
    """Fail for good."""
    raise PermissionError(f"the archive does not take {document['title']!r}: the key it was given has expired")
