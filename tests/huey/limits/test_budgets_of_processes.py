"""Budgets that several processes spend from at once, on a server."""

import collections
import os

import pytest

from aquila.huey.limits.budgets import TABLE, _read
from aquila.huey.state import state_of
from tests.huey.programs import PATIENCE, declare_for_program, racing
from tests.support.slow import nightly_but

PROCESSES = 3
SPENDER = """
import logging, os, sys
import aquila, huey
from aquila.errors import BudgetExceeded
from aquila.huey import PostgresHuey, RedisHuey, set_limits
from tests.huey.limits.providers import Provider

logging.disable()
kind, name, place, budget, bounded = sys.argv[1:]
options = {"url": place} if kind == "redis" else {"dsn": place}
app = {"redis": RedisHuey, "postgres": PostgresHuey}[kind](name, read_timeout=0.01, **options)
set_limits(app, budget=budget, counts_in_tests=True)
bound = {"max_output_tokens": 5} if bounded == "bounded" else {}

@app.task(retries=3, budget="70 tokens per task", name="spend", context=True)
def spend(task):
    while True:  # Its own budget ends it, or one that it shares: for good, whatever retries it has.
        # An answer of 10 and 5 tokens, for which 16 are reserved, and 5 where it is bounded.
        aquila.ask("x" * 40, transport=Provider(), **bound)
        print(task.id, flush=True)

print("ready", flush=True)
sys.stdin.readline()
while (task := app.dequeue()) is not None:
    app.execute(task)
"""


@pytest.fixture(params=nightly_but(["redis"], ["redis", "postgres"]))
def place(request, make_aquila_huey):
    kind = request.param
    where = request.getfixturevalue("redis_url" if kind == "redis" else "postgres_dsn")
    return make_aquila_huey(kind), kind, where


def spend(place, tmp_path, budget, bounded, jobs):
    """Let the processes do jobs that spend until they are refused. Returns how many answers each job got."""
    huey, kind, where = place
    script = tmp_path / "spender.py"
    script.write_text(SPENDER)
    job = huey.task(name="spend", retries=3)(lambda: None)
    declare_for_program(huey, "__main__", job)
    for _ in range(jobs):
        job()
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OPENAI_API_KEY": "-"}
    with racing(PROCESSES, str(script), kind, huey.name, where, budget, bounded, env=environment) as spenders:
        said = [spender.communicate(timeout=PATIENCE)[0].split() for spender in spenders]
        assert [spender.returncode for spender in spenders] == [0] * PROCESSES
    assert huey.pending_count() == huey.scheduled_count() == 0
    return collections.Counter(task for each in said for task in each)


def spent(huey):
    return {entry.key.split(":")[0]: _read(entry.value)["tokens"] for entry in state_of(huey).entries(TABLE)}


def test_no_budget_is_exceeded_by_processes_whose_answers_are_bounded(place, tmp_path):
    answers = spend(place, tmp_path, "400 tokens per queue, 1k tokens per day", "bounded", jobs=20)
    total = sum(answers.values()) * 15
    assert max(answers.values()) * 15 <= 70
    # 21 are reserved for a request. For those under way another may be refused, which then takes all other jobs.
    assert 400 - PROCESSES * 21 < total <= 400
    found = spent(place[0])
    assert (found["queue"], found["day"]) == (total, total)


def test_a_budget_of_a_day_is_exceeded_by_no_more_than_the_answers_that_are_under_way(place, tmp_path):
    answers = spend(place, tmp_path, "405 tokens per day", "unbounded", jobs=20)
    total = sum(answers.values()) * 15
    assert 405 - 16 < total <= 405 + PROCESSES * 5
    assert spent(place[0])["day"] == total
