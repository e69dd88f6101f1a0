"""A pause that a provider asked the worker of one process for is kept by the workers of others, on a server."""

import json
import os
import subprocess
import sys

import pytest

WORKER = """
import json, logging, sys
from aquila.huey import RedisHuey, ask_task, set_limits
from tests.huey.limits.providers import Provider

logging.disable()
name, url, refusal = sys.argv[1:]
huey = RedisHuey(name, url=url)
set_limits(huey, None, counts_in_tests=True)
found = {}
for model in ("a", "b"):
    provider = Provider(*[(429, {"retry-after": refusal})] * (model == "a" and bool(refusal)))
    task = ask_task(huey, "{x}", name=model, transport=provider, model=model, max_retries=0).s("x")
    huey.execute(task)
    waits = None if task.eta is None else (task.eta - huey._get_timestamp()).total_seconds()
    found[model] = {"asked": provider.asked, "waits": waits}
print(json.dumps(found))
"""


def ask_two_models(huey, url, refusal=""):
    """Let a process ask two models. ``refusal`` is for how many seconds the first one refuses requests."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OPENAI_API_KEY": "-"}
    command = [sys.executable, "-c", WORKER, huey.name, url, refusal]
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, timeout=240).stdout
    return json.loads(said)


@pytest.mark.slow
def test_a_pause_that_a_provider_asked_one_process_for_is_kept_by_another(make_aquila_huey, redis_url):
    huey = make_aquila_huey("redis")
    first = ask_two_models(huey, redis_url, "3000")
    second = ask_two_models(huey, redis_url)
    assert [found["a"]["asked"] for found in (first, second)] == [1, 0]
    # The second one began when some of the pause was over, and has its turn behind it.
    assert 2500 < second["a"]["waits"] <= 3001
    assert first["b"] == second["b"] == {"asked": 1, "waits": None}
