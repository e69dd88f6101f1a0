"""The two background jobs. They are ordinary Huey tasks; ``cassette=`` means nothing in production."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aquila
from aquila.huey import SqliteHuey, Task
from aquila.huey.live import publish_jobs
from summaries import store

MODEL = "gpt-4.1-mini"
INSTRUCTIONS = "Write an executive summary."
TIME_LIMIT = aquila.Timeouts(idle=20, total=120)
"""Seconds: a job ends after twenty of silence, and after two minutes in any case."""

store.DATA.mkdir(parents=True, exist_ok=True)
huey = SqliteHuey("summaries", filename=str(store.DATA / "queue.db"))
publish_jobs(huey)  # so that `aquila jobs` shows them


@huey.task(retries=2, retry_delay=10, context=True)
def generate_summary(document: str, task: Task[str]) -> str:
    """Summarise a document; store the text and the provider's raw answer."""
    with _job(task, document):
        reply = aquila.ask(
            f"Summarise this document:\n\n{document}",
            instructions=INSTRUCTIONS,
            model=MODEL,
            temperature=0,
            max_output_tokens=80,
            timeout=TIME_LIMIT,
            metadata={"job": task.id},
            cassette="jobs/generate_summary",
        )
        store.finish(task.id, reply.text, reply.raw, _find_flaw(reply))
    return reply.text


@huey.task(retries=2, retry_delay=10, context=True)
def stream_prompt(prompt: str, task: Task[str]) -> str:
    """Stream the answer to a prompt; store each chunk when it arrives, so that a page can show it growing."""
    with _job(task, prompt):
        with aquila.stream(
            prompt,
            model=MODEL,
            temperature=0,
            max_output_tokens=80,
            timeout=TIME_LIMIT,
            metadata={"job": task.id},
            cassette="jobs/stream_prompt",
        ) as stream:
            chunks = (event for event in stream if isinstance(event, aquila.Chunk))
            for number, chunk in enumerate(chunks):
                store.add_chunk(chunk.metadata["job"], number, chunk.text)
        store.finish(task.id, stream.response.text, stream.response.raw, _find_flaw(stream.response))
    return stream.response.text


def _find_flaw(answer: aquila.Response) -> str:
    """What keeps an answer from being a whole one, in a few words; "" for nothing."""
    if answer.refusal:
        return f"the model refused: {answer.refusal}"
    if answer.meta["finish_reason"] != "stop":
        return f"the answer was cut off: {answer.meta['finish_reason']}"
    return "" if answer.text.strip() else "the model said nothing"


@contextmanager
def _job(task: Task[str], prompt: str) -> Iterator[None]:
    """Keep the status of a job. Huey sees the exception too, and tries again."""
    store.put(task.id, task.name, prompt, "running")
    try:
        yield
    except Exception as error:
        store.fail(task.id, f"{type(error).__name__}: {error}")
        raise
