"""Servers and connections of Redis as people have them."""

import uuid

import pytest
import redis
from huey import RedisHuey as OwnRedisHuey

from aquila.errors import ConfigError
from aquila.huey import MsgpackSerializer, PriorityRedisHuey, RedisHuey, instrument
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.live import publish_jobs
from aquila.huey.live.subscription import subscribe
from aquila.huey.state import state_of
from tests.huey.live.conftest import consumer, settle
from tests.support import servers

DECODING = {
    "an option": lambda: RedisHuey("jobs", host="127.0.0.1", decode_responses=True),
    "a url": lambda: PriorityRedisHuey("jobs", url="redis://127.0.0.1?decode_responses=True"),
    "a pool": lambda: RedisHuey("jobs", connection_pool=redis.ConnectionPool(decode_responses=True)),
    "one that is instrumented": lambda: instrument(
        OwnRedisHuey("jobs", decode_responses=True, serializer=MsgpackSerializer())
    ),
}


@pytest.mark.parametrize("make", DECODING.values(), ids=DECODING)
def test_a_connection_that_makes_text_of_messages_is_refused(make):
    with pytest.raises(ConfigError, match="leave that option out"):
        make()


@pytest.fixture
def administrator():
    """A connection to a server of the test's own, which may change what others may do."""
    with servers.redis_server() as server, redis.from_url(server.url) as client:
        yield client


def use_everything(huey):
    """Let a queue deliver, schedule, retry, publish, wake, count, and execute once."""
    publish_jobs(huey, every=0.01, heartbeat=0.2)
    attempts = []

    @huey.task(retries=1, unique=True)
    def work(number):
        attempts.append(number)
        if len(attempts) == 1:
            raise ConnectionError("once")
        return number

    result = work(1)
    copies = copies_of(huey)
    with consumer(huey):
        assert [event.kind for event in subscribe(huey, result, timeout=60)][-1] == "done"
        assert attempts == [1, 1]
        assert work.schedule((2,), delay=0.05).get(blocking=True, timeout=60) == 2
    huey.storage.enqueue(b"a message")
    copy = copies.take("somebody", [])
    assert copies.has(copy)
    assert copies.forget(copy) == 1
    assert not copies.has(copy)
    state = state_of(huey)  # Which has what limits and budgets count.
    state.put("table", "key", b"1", order=1.0)
    assert state.remove("table", "key", b"1")
    assert state.delete_below("table", 2.0) == 0
    settle(huey)
    huey.storage.conn.connection_pool.disconnect()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RedisHuey, PriorityRedisHuey])
def test_an_old_server_is_enough(kind, administrator):
    # What Redis 5 does not know is forbidden, which fails as an unknown command does.
    since = {
        name.decode(): tuple(int(part) for part in about.get(b"since", b"0").split(b"."))
        for name, about in _read_documents(administrator).items()
    }
    newer = [name for name, version in since.items() if version >= (6,) and "|" not in name and name != "acl"]
    assert {"lmove", "blmove", "lpos", "getdel", "hello"} <= set(newer)
    administrator.execute_command("ACL", "SETUSER", "default", *(f"-{name}" for name in newer))
    try:
        path = administrator.connection_pool.connection_kwargs["path"]
        with pytest.raises(redis.ResponseError, match="no permissions"):
            redis.Redis(unix_socket_path=path, protocol=2).lpos("list", "value")
        use_everything(kind(f"q{uuid.uuid4().hex[:8]}", url=f"unix://{path}?protocol=2", keep_running=True))
    finally:
        administrator.execute_command("ACL", "SETUSER", "default", "+@all")


def _read_documents(client):
    if int(client.info("server")["redis_version"].split(".")[0]) < 7:
        pytest.skip("a server of this version does not say since when it has its commands")
    client.set_response_callback("COMMAND", lambda answer, **options: answer)  # The client's own expects no dict.
    answer = client.execute_command("COMMAND", "DOCS")
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {
        name: about if isinstance(about, dict) else dict(zip(about[::2], about[1::2], strict=True))
        for name, about in pairs
    }


@pytest.mark.slow
def test_a_pool_of_the_user_s_with_a_password_is_enough(administrator):
    administrator.execute_command("ACL", "SETUSER", "ada", "on", ">geheim", "~*", "&*", "+@all", "-@dangerous", "+info")
    path = administrator.connection_pool.connection_kwargs["path"]
    pool = redis.BlockingConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=path, username="ada", password="geheim"
    )
    use_everything(RedisHuey("jobs", connection_pool=pool, keep_running=True))
