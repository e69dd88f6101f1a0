"""A request that is sent once more carries the key that it had."""

import pytest

import aquila
from aquila import errors
from aquila.huey import idempotency_key, once
from aquila.huey.limits.idempotency import RequestNumbers, key_of_request
from aquila.huey.testing import build_task, drain_queue, perform_job
from tests.huey.limits.providers import Provider
from tests.support.runs import name_upstream


def keys(provider):
    return [headers["idempotency-key"] for headers in provider.headers]


def test_retries_of_a_call_and_of_a_task_carry_the_same_key(huey):
    provider = Provider((500, {"retry-after-ms": "1"}), (429, {"retry-after": "60"}), (400, {}))

    @huey.task(retries=1)
    def answer():
        metadata = {"attempt": len(provider.headers)}
        aquila.ask("hi", transport=provider, metadata=metadata, store=True)
        return aquila.ask("other", transport=provider).text

    answer()
    assert drain_queue(with_scheduled=True) == {"retry": 1, "error": 1, "complete": 1}
    first, *again, other = keys(provider)
    assert again == [first] * 3
    assert other != first


def test_equal_requests_of_a_task_have_keys_of_their_own_and_so_have_other_tasks(huey):
    provider = Provider()

    @huey.task()
    def twice():
        for _ in range(2):
            aquila.ask("hi", transport=provider)

    task = build_task(twice)
    perform_job(task)
    perform_job(task)  # as a task that is delivered again
    perform_job(twice)
    first, second, *again, third, fourth = keys(provider)
    assert again == [first, second]
    assert len({first, second, third, fourth}) == 4


def test_outside_of_tasks_no_key_is_sent(huey):
    provider = Provider()
    aquila.ask("hi", transport=provider)
    assert "idempotency-key" not in provider.headers[0]


def test_async_tasks_and_streams_carry_it_too(huey):
    provider = Provider()

    @huey.task()
    async def answer():
        async with aquila.astream("hi", transport=provider) as stream:
            return (await stream.result()).text

    assert perform_job(answer).value == "yes"
    assert len(keys(provider)) == 1


def test_a_recording_replays_for_another_task_and_holds_no_key(root, huey, monkeypatch):
    provider = Provider()

    @huey.task()
    def answer():
        return aquila.ask("hi", model="m").text

    name_upstream("provider", provider)
    monkeypatch.setenv("AQUILA_UPSTREAM", "provider")
    with aquila.use_cassette("keyed", transport="record"):
        perform_job(answer)
    with aquila.use_cassette("keyed", transport="replay"):
        assert perform_job(answer).value == "yes"
    assert keys(provider)[0] not in (root / "keyed.yaml").read_text()


def test_other_clients_get_a_key_that_lasts(huey):
    seen = []

    @huey.task(retries=1)
    def charge():
        seen.append((idempotency_key("charge", 1), idempotency_key("charge", 2), idempotency_key("charge1")))
        once("charged", lambda: None)
        if len(seen) == 1:
            raise ConnectionError

    charge()
    drain_queue()
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 3
    with pytest.raises(errors.ConfigError, match="no task is executing"):
        idempotency_key()


def test_a_request_that_is_not_json_has_an_idempotency_key_too():
    def key(body):
        return key_of_request("id", RequestNumbers(), "call", body)

    assert key({"file": ("a.wav", b"1")}) == key({"file": ("a.wav", b"1")}) != key({"file": ("a.wav", b"2")})
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1, "metadata": {"attempt": 3}})
    assert key({"text": "\ud800"}) != key({"text": "?"})
    assert key({"logit_bias": {1: 5, "2": 6}}) == key({"logit_bias": {"2": 6, 1: 5}}) != key({"logit_bias": {1: 5}})
