"""A refusal or a miss counts for the test of its client, even if it is noted while the listener closes."""

from __future__ import annotations

import textwrap

import pytest

from tests.intercept.own_sockets.conftest import Run
from tests.support.upstream import Upstream

HOLDING = """
    import threading
    from unittest import mock

    import pytest
    from aquila.intercept import policy
    from aquila.intercept.own_sockets import listeners
    from aquila.recording.scope_parts.scope_misses import ScopeMisses

    HELD, ENDING = threading.Event(), threading.Event()

    def hold(original):
        def held(*args, **named):
            HELD.set()
            assert ENDING.wait(60)
            return original(*args, **named)
        return held

    def release(original):
        def close(listener):
            ENDING.set()
            original(listener)
        return close

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(item):
        HELD.clear()
        ENDING.clear()
        with (
            mock.patch.object(policy, "refuse_own_socket", hold(policy.refuse_own_socket)),
            mock.patch.object(ScopeMisses, "remember", hold(ScopeMisses.remember)),
            mock.patch.object(listeners._Listener, "close", release(listeners._Listener.close)),
        ):
            return (yield)
    """
"""A conftest: what the thread of a listener is about to note, it notes once the listener is being closed."""


@pytest.mark.parametrize("where", ["test", "fixture"])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"\x00\x01\r\n\r\n", "*a connection to api.openai.com:80 was refused*"),
        (b"GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n", "*CassetteMiss*"),
    ],
    ids=["refusal", "miss"],
)
def test_what_is_noted_while_the_listener_closes_fails_the_test(
    said: bytes, told: str, where: str, run: Run, provider: Upstream, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(textwrap.dedent(HOLDING))
    result = run(
        f"""
        import socket
        import conftest
        import pytest

        def leave():
            with socket.create_connection(("api.openai.com", 80)) as client:
                client.sendall({said!r})
                assert conftest.HELD.wait(60)

        @pytest.fixture(scope="module")
        def shared():
            yield
            if {where!r} == "fixture":
                leave()

        @pytest.mark.aquila(transport="replay")
        def test_it(shared, aquila_cassette):
            if {where!r} == "test":
                leave()

        def test_another():
            pass
        """
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([told])
    assert provider.requests == []
