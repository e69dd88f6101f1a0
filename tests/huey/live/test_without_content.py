"""``publish_jobs(content=False)``: no text of a prompt, an answer, a tool or an argument is anywhere but in the job."""

import pytest

import aquila
from aquila import tool
from aquila.huey import checkpoint, follow
from aquila.huey.live import app, subscribe
from aquila.testing import use_script
from tests.huey.live.conftest import consumer
from tests.huey.live.test_page import collect
from tests.huey.live.test_publishing import summary_of

PRIVATE = [
    "argumentword", "promptword", "instructionword", "answerword", "thoughtword", "citiword", "toolword", "draftword",
    "resultword", "keptword",
]  # fmt: skip


def do_a_job(huey, script):
    """Do a job that says all that a job can say, and one that fails. Returns their results."""

    @tool
    def weather(city: str) -> dict:
        """The weather."""
        return {"sky": f"toolword in {city}"}

    @huey.task(name="write", retries=1)
    def write(topic, *, style):
        checkpoint("draft", "draftword")
        script.tool_call("weather", city="citiword")
        script.reasoning("thoughtword first").reply("answerword and more")
        with aquila.stream(f"promptword about {topic}", instructions="instructionword", tools=[weather]) as stream:
            for _ in follow(stream):
                pass
        if style == "failing":
            raise ValueError("the model was odd")
        return "resultword"

    results = [write("argumentword", style="keptword"), write("argumentword", style="failing")]
    with consumer(huey):
        for result in results:
            last = [*subscribe(huey, result, timeout=60)][-1]
            assert last.kind in ("done", "failed")
    return results


def words_in(text):
    return [word for word in PRIVATE if word in text]


@pytest.mark.parametrize("content", [False, True])
def test_no_text_is_in_what_is_published_or_logged(published, redis_url, caplog, content):
    caplog.set_level("DEBUG")
    huey = published("redis", content=content)
    with use_script() as script:
        results = do_a_job(huey, script)
    redis = huey.storage.conn
    tables = {}
    for key in redis.scan_iter(f"aquila.*{huey.name}*"):
        kind = redis.type(key)
        table = key.decode().partition("}.")[2]
        tables[table] = repr(redis.hgetall(key) if kind == b"hash" else redis.zrange(key, 0, -1))
    assert {f"live.events.{result.id}" for result in results} <= tables.keys()
    # A dead letter has the message, so that the job can be tried again.
    published_words = {table: words_in(text) for table, text in tables.items() if table != "dead" and words_in(text)}
    assert bool(published_words) == content, published_words
    assert words_in(caplog.text) == []
    assert summary_of(huey, results[0]).last.characters == len("answerword and more")
    streamed = [collect(app(huey), f"/job/live?queue={huey.name}&id={result.id}", {}) for result in results]
    assert "answers" in {message.get("event") for message in streamed[0]}
    assert bool(words_in(repr(streamed))) == content
