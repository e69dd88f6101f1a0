"""Requests that race: the program takes the first answer, and stops waiting for the others."""

from __future__ import annotations

import json
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.preloaded  # noqa: F401
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream, upstream

PROGRAM = """
import asyncio
import concurrent.futures
import anyio
import httpx
import openai

URL = "{url}/v1"
RACERS = {racers}

def body_for(name):
    return dict(model=name, messages=[dict(role="user", content="Hi")])

async def ask(http, name):
    answer = await http.post(f"{{URL}}/chat/completions", json=body_for(name), timeout=60)
    return answer.json()["choices"][0]["message"]["content"]
"""

RACES = {
    "asyncio.wait": """
        async def race():
            async with httpx.AsyncClient() as http:
                tasks = [asyncio.create_task(ask(http, name)) for name in RACERS]
                done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in rest:
                    task.cancel()
                await asyncio.gather(*rest, return_exceptions=True)
                return done.pop().result()

        def test_it(aquila_cassette):
            assert asyncio.run(race()) == "winner"
    """,
    "openai": """
        async def race():
            async with openai.AsyncOpenAI(api_key="none", base_url=URL) as client:
                tasks = [asyncio.create_task(client.chat.completions.create(**body_for(name))) for name in RACERS]
                done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in rest:
                    task.cancel()
                await asyncio.gather(*rest, return_exceptions=True)
                return done.pop().result().choices[0].message.content

        def test_it(aquila_cassette):
            assert asyncio.run(race()) == "winner"
    """,
    "anyio": """
        async def race():
            answers = []

            async def run(http, name):
                answers.append(await ask(http, name))
                group.cancel_scope.cancel()

            async with httpx.AsyncClient() as http, anyio.create_task_group() as group:
                for name in RACERS:
                    group.start_soon(run, http, name)
            return answers

        def test_it(aquila_cassette):
            assert anyio.run(race) == ["winner"]
    """,
    "TaskGroup": """
        async def run(http, name):
            raise ValueError(await ask(http, name))

        async def race():
            async with httpx.AsyncClient() as http, asyncio.TaskGroup() as group:
                for name in RACERS:
                    group.create_task(run(http, name))

        def test_it(aquila_cassette):
            try:
                asyncio.run(race())
            except* ValueError as failed:
                assert [str(error) for error in failed.exceptions] == ["winner"]
    """,
}

THREADS = """
    def ask_in_thread(name):
        with httpx.Client() as http:
            answer = http.post(f"{URL}/chat/completions", json=body_for(name), timeout=60)
            return answer.json()["choices"][0]["message"]["content"]

    def test_it(aquila_cassette):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            assert list(pool.map(ask_in_thread, RACERS)) == RACERS
"""

BOTH, WINNER = ["loser", "winner"], ["winner"]


class Course:
    """A provider that answers the winner when both have asked, and the loser when ``over`` is set."""

    def __init__(self, server: Upstream) -> None:
        self.url = server.url
        self.over = threading.Event()
        self._loser_has_asked = threading.Event()
        server.script = self._answer

    def _answer(self, path: str, body: bytes) -> Answer:
        model = json.loads(body)["model"]
        if model == "loser":
            self._loser_has_asked.set()
            self.over.wait(60)
        else:
            self._loser_has_asked.wait(60)
        message = {"role": "assistant", "content": model}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        return Answer(chunks=[json.dumps(answer).encode()])


@pytest.fixture
def course() -> Iterator[Course]:
    with upstream(lambda path, body: Answer()) as server:
        running = Course(server)
        try:
            yield running
        finally:
            running.over.set()


def run(pytester: pytest.Pytester, race: str, racers: list[str], url: str, *arguments: str) -> Path:
    """Run a race in a test, which passes, and return its cassette."""
    pytester.makepyfile(test_it=PROGRAM.format(url=url, racers=racers) + textwrap.dedent(race))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)
    result.assert_outcomes(passed=1)
    return pytester.path / "cassettes" / "test_it" / "test_it.yaml"


def models_in(cassette: Path) -> dict[str, str]:
    """Which models were asked, and how each answer ended."""
    return {json.loads(each.request.body)["model"]: each.response.end for each in load_cassette(cassette).interactions}


@pytest.mark.parametrize("way", slow_but(["asyncio.wait"], RACES))
def test_a_loser_that_happens_not_to_be_asked_keeps_its_recording(
    pytester: pytest.Pytester, course: Course, way: str
) -> None:
    cassette = run(pytester, RACES[way], BOTH, course.url, "--aquila-record")
    assert models_in(cassette) == {"loser": "silent", "winner": "complete"}
    before = cassette.read_bytes()
    run(pytester, RACES[way], WINNER, course.url, "--aquila-record")
    assert cassette.read_bytes() == before
    run(pytester, RACES[way], BOTH, course.url)


def test_a_loser_in_a_thread_keeps_its_recording_too(pytester: pytest.Pytester, course: Course) -> None:
    course.over.set()
    cassette = run(pytester, THREADS, BOTH, course.url, "--aquila-record")
    assert models_in(cassette) == {"loser": "complete", "winner": "complete"}
    before = cassette.read_bytes()
    run(pytester, THREADS, WINNER, course.url, "--aquila-record")
    assert cassette.read_bytes() == before
    run(pytester, THREADS, BOTH, course.url)


def test_a_race_need_not_play_all_of_its_recordings_where_other_tests_must(
    pytester: pytest.Pytester, course: Course
) -> None:
    pytester.makeini("[pytest]\naquila_unplayed = fail\n")
    race = RACES["asyncio.wait"].replace(
        "def test_it", 'import pytest\n\n        @pytest.mark.aquila(unplayed="ignore")\n        def test_it'
    )
    cassette = run(pytester, race, BOTH, course.url, "--aquila-record")
    before = cassette.read_bytes()
    run(pytester, race, WINNER, course.url)
    run(pytester, race, WINNER, course.url, "--aquila-record")
    assert cassette.read_bytes() == before
