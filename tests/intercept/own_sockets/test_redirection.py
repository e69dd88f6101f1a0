"""Where clients on sockets of their own are redirected to, and what is left of that."""

from __future__ import annotations

import _socket
import errno
import os
import socket
import threading
from typing import Any

import pytest

from aquila.intercept.own_sockets.listeners import ProviderListeners, _Listener
from tests.intercept.own_sockets.conftest import Run
from tests.support.upstream import Upstream


def test_a_target_leads_to_no_other_host(run: Run, provider: Upstream) -> None:
    targets = ("@attacker.example/v1/chat/completions", ".attacker.example/v1", "v1/chat/completions")
    targets += ("http://a.example/v1", "*")
    result = run(
        f"""
        import pytest
        import ownclients

        @pytest.mark.parametrize("target", {targets!r})
        def test_it(target, aquila_cassette):
            rest = b" HTTP/1.1\\r\\nHost: api.openai.com\\r\\nContent-Length: 0\\r\\n\\r\\n"
            ownclients.send(b"POST " + target.encode() + rest)
        """,
        "--aquila-record",
    )
    result.assert_outcomes(failed=len(targets))
    said = result.stdout.str().partition("short test summary")[0]
    assert said.count("a connection to api.openai.com:80 was refused") >= len(targets)
    assert provider.requests == []


def test_what_is_no_request_is_not_quoted_and_half_of_one_is_passed_over(run: Run) -> None:
    result = run(
        """
        import socket
        import ownclients

        def test_no_request(aquila_cassette):
            ownclients.send(b"GET / HTTP/1.1\\r\\nX-Auth: hunter2SECRETpassword99\\x0b\\r\\n\\r\\n")

        def test_half_a_request(aquila_cassette):
            with socket.create_connection(("api.openai.com", 80)) as end:
                end.sendall(ownclients.request("Where?")[:-5])

        def test_a_url_that_is_none(aquila_cassette):
            ownclients.send(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\\r\\nHost: api.openai.com\\r\\n\\r\\n")
        """
    )
    result.assert_outcomes(passed=1, failed=2)
    assert "hunter2" not in result.stdout.str()


def test_other_clients_connect_as_always_beside_such_a_client(run: Run, provider: Upstream) -> None:
    source = """
        import asyncio
        import openai
        import ownclients

        def test_it(aquila_cassette):
            assert ownclients.over_socket("Where?")[0] == 200

            async def ask():
                async with openai.AsyncOpenAI(api_key="sk-other", max_retries=0) as client:
                    stream = await client.chat.completions.create(
                        model="m", stream=True, messages=[{"role": "user", "content": "Where?"}]
                    )
                    return "".join([chunk.choices[0].delta.content async for chunk in stream])

            assert asyncio.run(ask()) == "Far out at sea."
        """
    run(source, "--aquila-record").assert_outcomes(passed=1)
    assert len(provider.requests) == 2


def test_a_live_test_gets_out_though_a_client_was_redirected_before(run: Run, provider: Upstream) -> None:
    run(
        """
        import asyncio, socket, ssl
        import pytest
        import ownclients

        kept = []

        def test_led(aquila_cassette):
            kept.append(socket.getaddrinfo("api.openai.com", 443)[0][4])
            assert ownclients.over_socket("Where?")[0] == 200

        @pytest.mark.aquila_live
        def test_live():
            assert ownclients.over_asyncio("Where?")[0] == 200
            with socket.create_connection(kept[0]) as plain:
                with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
                    safe.sendall(ownclients.request("Where?"))
                    assert ownclients.read(safe.makefile("rb"))[0] == 200
        """,
        "--aquila-record",
    ).assert_outcomes(passed=2)
    assert len(provider.requests) == 3


def test_a_host_that_the_scope_lets_through_is_not_redirected(run: Run, provider: Upstream) -> None:
    run(
        """
        import ownclients
        from aquila.recording.scope import current_scope

        def test_it(aquila_cassette):
            current_scope().let_through(lambda host: host == "api.openai.com", "")
            assert ownclients.over_socket("Where?")[0] == 200
            assert not aquila_cassette.misses
        """
    ).assert_outcomes(passed=1)
    assert len(provider.requests) == 1


def test_a_handshake_over_a_proxy_is_refused_as_without_such_a_client(run: Run, provider: Upstream) -> None:
    run(
        """
        import ssl
        import pytest
        import ownclients
        from aquila.errors import LiveCallRefused

        def test_it(aquila_script, aquila_refusals):
            aquila_script.reply("Far out.")
            assert ownclients.over_asyncio("Where?")[0] == 200
            with pytest.raises(LiveCallRefused):
                ssl.create_default_context().wrap_bio(
                    ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="api.openai.com"
                )
            aquila_refusals.forget()
        """
    ).assert_outcomes(passed=1)


def test_every_spelling_of_a_host_and_every_way_to_connect_is_redirected(run: Run) -> None:
    run(
        """
        import socket, ssl
        import pytest
        import ownclients
        from aquila.errors import LiveCallRefused

        def ask(safe):
            safe.sendall(ownclients.request("Where?"))
            return ownclients.read(safe.makefile("rb"))[0]

        @pytest.fixture
        def script(aquila_script):
            aquila_script.reply("Far out.")

        @pytest.mark.parametrize("host", ["API.OpenAI.com", "api.openai.com."])
        def test_name(host, script):
            with socket.create_connection((host, "https")) as plain:
                with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
                    assert ask(safe) == 200

        def test_tls_before_the_connection(script):
            with ssl.create_default_context().wrap_socket(socket.socket(), server_hostname="api.openai.com") as safe:
                safe.connect(("api.openai.com", 443))
                assert ask(safe) == 200

        @pytest.mark.parametrize("resolve", [socket.gethostbyname, lambda name: socket.gethostbyname_ex(name)[2][0]])
        def test_address(resolve, script):
            with socket.create_connection((resolve("api.openai.com"), 443)) as plain:
                context = ssl.create_default_context()
                with context.wrap_socket(plain, server_hostname="api.openai.com") as safe:
                    assert ask(safe) == 200
                    session = safe.session
                with socket.create_connection(("api.openai.com", 443)) as again:
                    context.wrap_socket(again, server_hostname="api.openai.com", session=session).close()

        def test_to_the_end(script):
            with socket.create_connection(("api.openai.com", 443)) as plain:
                with ssl.create_default_context().wrap_socket(
                    plain, server_hostname="api.openai.com", suppress_ragged_eofs=False
                ) as safe:
                    safe.sendall(ownclients.request("Where?"))
                    while safe.recv(1000):
                        pass

        def test_what_is_no_stream_is_refused(aquila_cassette, aquila_refusals):
            stand_in = socket.gethostbyname("api.openai.com")
            with socket.socket(type=socket.SOCK_DGRAM) as end:
                with pytest.raises(LiveCallRefused):
                    end.connect(("api.openai.com", 443))
                with pytest.raises(LiveCallRefused):
                    end.sendto(b"x", (stand_in, 443))
            with socket.socket(socket.AF_INET6) as end, pytest.raises(LiveCallRefused):
                end.connect(("api.openai.com", 443))
            aquila_refusals.forget()
        """
    ).assert_outcomes(passed=7)


def test_a_server_that_is_listed_as_a_provider_keeps_its_address(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\naquila_providers = localhost:8976\n")
    # As on a machine that has ::1 for localhost, before 127.0.0.1. `socket.getaddrinfo` asks this.
    find = _socket.getaddrinfo

    def find_both(host: Any, port: Any, family: int = 0, *others: int) -> list[Any]:
        rows = find(host, port, socket.AF_INET, *others)
        if family or host != "localhost":
            return rows
        return [(socket.AF_INET6, *row[1:4], ("::1", row[4][1], 0, 0)) for row in rows] + rows

    monkeypatch.setattr(_socket, "getaddrinfo", find_both)
    run(
        """
        import socket
        import ownclients

        def test_it(aquila_cassette):
            for flags in (0, socket.AI_PASSIVE):
                rows = socket.getaddrinfo("localhost", 8976, socket.AF_INET, socket.SOCK_STREAM, 0, flags)
                assert {row[4] for row in rows} == {("127.0.0.1", 8976)}
            assert {row[4] for row in socket.getaddrinfo("localhost", 8976)} == {("127.0.0.1", 8976)}
            assert ("::1", 8977, 0, 0) in {row[4] for row in socket.getaddrinfo("localhost", 8977)}

        def test_answered(aquila_script):
            aquila_script.reply("Far out.")
            with socket.create_connection(("localhost", 8976)) as end:
                end.sendall(ownclients.request("Where?"))
                assert ownclients.read(end.makefile("rb"))[0] == 200
        """
    ).assert_outcomes(passed=2)


@pytest.mark.slow
def test_connections_that_are_left_open_end_with_their_test(run: Run, provider: Upstream) -> None:
    run(
        """
        import socket, ssl, threading
        import pytest
        import ownclients

        left = []

        def open_one():
            plain = socket.create_connection(("api.openai.com", 443))
            return ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com")

        def test_first(aquila_script):
            aquila_script.reply("Far out. " * 1_000_000)
            left.extend(open_one() for _ in range(3))
            left.append(open_one())
            left[-1].sendall(ownclients.request("Where?"))
            left[-1].recv(1)  # and no more of it

        def test_second(aquila_script):
            aquila_script.reply("Far out.")
            assert not [thread for thread in threading.enumerate() if thread.name == "aquila-provider"]
            for one in left:
                with one, pytest.raises(OSError):
                    one.sendall(ownclients.request("Where?"))
                    while one.recv(100_000):
                        pass
                    raise ConnectionResetError
            assert ownclients.over_socket("Where?")[0] == 200
        """
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize("end", [None, "enough"])
def test_what_listens_for_a_block_that_nothing_ends_ends_with_the_run(end: str | None, run: Run) -> None:
    run(
        f"""
        import socket
        import aquila
        import pytest

        @pytest.fixture
        def block():
            with aquila.use_cassette("x", transport="record"):
                yield

        def test_it(request):
            if {end!r}:
                request.getfixturevalue("block")  # ends without being stored, because the run is interrupted
            else:
                aquila.use_cassette("x", transport="record").__enter__()
            socket.create_connection(("api.openai.com", 443)).close()
            if {end!r}:
                pytest.exit({end!r})
        """
    ).assert_outcomes(passed=0 if end else 1)
    assert not [thread for thread in threading.enumerate() if thread.name == "aquila-provider"]


def test_a_connection_that_is_not_redirected_loads_and_opens_nothing_for_it(run: Run) -> None:
    result = run(
        """
        import socket, sys

        def test_it():
            with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
                pass
            assert not {"httpx2", "h11", "aquila.intercept.own_sockets.listeners"} & set(sys.modules)
        """,
        in_process=False,
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("aquila: *")


def test_an_address_that_outlives_its_scope_is_refused(run: Run) -> None:
    run(
        """
        import socket
        import pytest
        from aquila.errors import LiveCallRefused

        kept = []

        def test_resolved(aquila_script):
            aquila_script.unused = "ignore"
            kept.append(socket.getaddrinfo("api.openai.com", 443)[0][4])

        def test_connected(aquila_refusals):
            with pytest.raises(LiveCallRefused, match="api.openai.com:443"):
                socket.create_connection(kept[0])
            aquila_refusals.forget()
        """
    ).assert_outcomes(passed=2)


def test_an_address_to_listen_on_is_not_redirected(run: Run) -> None:
    run(
        """
        import socket
        import pytest
        from aquila.errors import LiveCallRefused

        def test_it(aquila_script, aquila_refusals):
            aquila_script.unused = "ignore"
            with pytest.raises(LiveCallRefused):
                socket.getaddrinfo("api.openai.com", 443, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
            aquila_refusals.forget()
        """
    ).assert_outcomes(passed=1)


def test_a_session_of_a_live_connection_is_left_out_of_a_handshake_here(run: Run, provider: Upstream) -> None:
    run(
        """
        import socket, ssl
        import pytest
        import ownclients

        context = ssl.create_default_context()
        kept = []

        def ask(session):
            with socket.create_connection(("api.openai.com", 443)) as plain:
                with context.wrap_socket(plain, server_hostname="api.openai.com", session=session) as safe:
                    safe.sendall(ownclients.request("Where?"))
                    assert ownclients.read(safe.makefile("rb"))[0] == 200
                    kept.append(safe.session)

        @pytest.mark.aquila_live
        def test_live():
            ask(None)

        def test_scripted(aquila_script):
            aquila_script.reply("Far out.")
            ask(kept[0])

        def test_in_memory(aquila_script):
            aquila_script.unused = "ignore"
            aquila_script.reply("Far out.")
            with socket.create_connection(("api.openai.com", 443)):
                context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), False, "api.openai.com", kept[0])
        """
    ).assert_outcomes(passed=3)


def test_a_listener_goes_on_after_an_accept_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the program has too many open files for a moment."""
    failures, accept = [OSError(errno.EMFILE, "Too many open files")], socket.socket.accept

    def fail_and_accept(listening: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", fail_and_accept)
    listener = _Listener("api.openai.com", 80)
    try:
        with socket.create_connection(listener.address, timeout=60) as client:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
    finally:
        listener.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_inherit_a_held_lock() -> None:
    known = ProviderListeners()
    with known._lock:  # as another thread of the parent may hold it
        child = os.fork()
        if not child:
            os._exit(0 if known._lock.acquire(timeout=5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_clients_of_older_and_of_careful_http_are_answered(run: Run, provider: Upstream) -> None:
    run(
        """
        import socket
        import pytest
        import ownclients

        def answer(head):
            body = ownclients.request("Where?").partition(b"\\r\\n\\r\\n")[2]
            with socket.create_connection(("api.openai.com", 80)) as end:
                end.sendall(head + b"Host: api.openai.com\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body))
                if b"100-continue" in head:
                    assert end.recv(100).startswith(b"HTTP/1.1 100")
                end.sendall(body)
                return end.makefile("rb").read()

        def test_1_0(aquila_script):
            aquila_script.reply("Far out.")
            assert b"transfer-encoding" not in answer(b"POST /v1/chat/completions HTTP/1.0\\r\\n").lower()

        def test_continue(aquila_script):
            aquila_script.reply("Far out.")
            head = b"POST /v1/chat/completions HTTP/1.1\\r\\nExpect: 100-continue\\r\\n"
            assert b"Far " in answer(head)

        def test_upgrade(aquila_script):
            aquila_script.unused = "ignore"
            with pytest.raises(OSError):
                assert answer(b"POST /v1/chat/completions HTTP/1.1\\r\\nUpgrade: h2c\\r\\nConnection: upgrade\\r\\n")
                raise ConnectionResetError
        """
    ).assert_outcomes(passed=2, failed=1)
