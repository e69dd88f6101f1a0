"""A host is refused by every name and address that leads to it, in every call that takes one."""

from __future__ import annotations

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.guarded import GuardedRun
from tests.support.real_hosts import reachable, real_hosts
from tests.support.upstream import Answer, Upstream


@pytest.mark.slow
def test_every_spelling_of_a_provider_is_refused_wherever_a_name_is_given(run: GuardedRun) -> None:
    result = run(
        """
        import asyncio, socket, ssl
        from aquila.errors import LiveCallRefused

        NAME = "api.openai.com"
        WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in NAME)
        SPELLINGS = [NAME.upper(), NAME + ".", WIDE, NAME.replace(".", "\u3002"), NAME.encode(), NAME.upper().encode()]

        def connected(method):
            def ask(host):
                with socket.socket() as end:
                    getattr(end, method)((host, 443))
            return ask

        def sent(*arguments):
            def ask(host):
                with socket.socket(type=socket.SOCK_DGRAM) as end:
                    end.sendto(*arguments, (host, 443))
            return ask

        def sent_in_parts(host):
            with socket.socket(type=socket.SOCK_DGRAM) as end:
                end.sendmsg([b""], [], 0, (host, 443))

        def shaken(host):
            ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host)

        async def resolved_in_loop(host):
            await asyncio.get_running_loop().getaddrinfo(host, 443)

        async def sent_in_loop(host):
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
            try:
                transport.sendto(b"x", (host, 443))
                await asyncio.sleep(0)
            finally:
                transport.close()

        ASKS = {
            "getaddrinfo": lambda host: socket.getaddrinfo(host, 443),
            "by name": lambda host: socket.getaddrinfo(host=host, port="443"),
            "gethostbyname": socket.gethostbyname,
            "gethostbyname_ex": socket.gethostbyname_ex,
            "create_connection": lambda host: socket.create_connection((host, 443)),
            "connect": connected("connect"),
            "connect_ex": connected("connect_ex"),
            "sendto": sent(b""),
            "sendto with flags": sent(b"", 0),
            "sendmsg": sent_in_parts,
            "handshake": shaken,
            "loop": lambda host: asyncio.run(resolved_in_loop(host)),
        }

        @pytest.mark.parametrize("host", SPELLINGS)
        @pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
        def test_it(ask, host):
            with pytest.raises(LiveCallRefused):
                ask(host)

        def test_the_address_of_a_datagram_may_be_given_late():
            caught = []
            async def go():
                asyncio.get_running_loop().set_exception_handler(lambda loop, context: caught.append(context))
                await sent_in_loop(NAME)
            asyncio.run(go())
            assert [type(each["exception"]).__name__ for each in caught] == ["LiveCallRefused"]
        """
    )
    result.assert_outcomes(passed=6 * 12 + 1)


def test_a_server_of_this_machine_that_is_listed_is_refused_by_any_address_and_name(
    run: GuardedRun, provider: Upstream
) -> None:
    result = run(
        """
        import socket, urllib.request
        from aquila.errors import LiveCallRefused

        @pytest.mark.parametrize("host", [
            "127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0",
            "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54",
        ])
        def test_it(host):
            for ask in (
                lambda: socket.create_connection((host, PORT)),
                lambda: socket.socket().connect((host, PORT)),
                lambda: urllib.request.urlopen(f"http://{host}:{PORT}/v1/chat/completions", data=b"{}"),
            ):
                with pytest.raises(LiveCallRefused):
                    ask()

        @pytest.mark.parametrize("host", ["::1", "::ffff:127.0.0.1", "::ffff:7f00:1"])
        def test_of_the_newer_protocol(host):
            with socket.socket(socket.AF_INET6) as end, pytest.raises(LiveCallRefused):
                end.connect((host, PORT))

        def test_under_an_alias_that_was_resolved(monkeypatch):
            socket.getaddrinfo("localhost", 1)  # the guard remembers this name for the address
            with pytest.raises(LiveCallRefused):
                socket.create_connection(("127.0.0.1", PORT))

        def test_others_are_reached():
            with socket.create_server(("127.0.0.1", 0)) as server:
                for host in ("127.0.0.1", "localhost", "127.1", "2130706433"):
                    socket.create_connection((host, server.getsockname()[1]), timeout=10).close()
        """
    )
    result.assert_outcomes(passed=14)
    assert provider.requests == []


def test_an_alias_for_an_address_that_is_listed_is_refused(
    run: GuardedRun, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = "alias.example", int(provider.url.rpartition(":")[2])
    with reachable({host: port}):
        result = run(
            """
            import socket, urllib.parse
            from aquila.errors import LiveCallRefused

            def test_it():
                with pytest.raises(LiveCallRefused, match="198.51.100.1"):
                    socket.create_connection(("alias.example", 80))

            @pytest.mark.aquila(ignore_hosts="alias.example")
            def test_a_cassette_takes_it_where_the_alias_is_ignored():
                socket.create_connection(("alias.example", 80)).close()

            def test_another_name_for_a_host_that_is_ignored_stays_refused():
                with pytest.raises(LiveCallRefused, match="api.openai.com"):
                    socket.getaddrinfo("api.openai.com", 80)
            """,
            ini="aquila_ignore_hosts = ignored.example",
            providers="198.51.100.1",
        )
    result.assert_outcomes(passed=3)
    assert provider.requests == []


def test_with_the_guard_all_an_ignored_host_and_this_machine_are_reached_at_their_resolved_address(
    run: GuardedRun, provider: Upstream
) -> None:
    port = int(provider.url.rpartition(":")[2])
    with reachable({"ignored.example": port, "box.example": port}):
        result = run(
            """
            import socket
            from aquila.errors import LiveCallRefused

            def test_it():
                socket.create_connection(("ignored.example", 80)).close()

            def test_this_machine(monkeypatch):
                monkeypatch.setattr(socket, "gethostname", lambda: "Box.example")
                socket.create_connection(("box.example", 80)).close()

            def test_another_host():
                with pytest.raises(LiveCallRefused):
                    socket.create_connection(("198.51.100.77", 80))
            """,
            ini="aquila_guard = all\naquila_ignore_hosts = ignored.example",
            providers="",
        )
    result.assert_outcomes(passed=3)


def test_a_host_that_is_ignored_at_one_port_is_reached_there_by_every_client_and_nowhere_else(run: GuardedRun) -> None:
    with real_hosts("vault.example", script=lambda path, body: Answer(chunks=[b"{}"])) as vault:
        result = run(
            """
            import asyncio, aiohttp, http.client, httpx, httpx2, requests, ssl, urllib.request
            from aquila.errors import LiveCallRefused

            async def by_aiohttp(url):
                async with aiohttp.ClientSession() as session, session.post(url, data=b"{}") as answer:
                    await answer.read()

            def by_http_client(url):
                client = http.client.HTTPSConnection(url.split("/")[2], context=ssl.create_default_context())
                try:
                    client.request("POST", "/", b"{}")
                    client.getresponse().read()
                finally:
                    client.close()

            ASKS = {
                "httpx": lambda url: httpx.post(url, content=b"{}"),
                "httpx2": lambda url: httpx2.post(url, content=b"{}"),
                "requests": lambda url: requests.post(url, data=b"{}"),
                "urllib": lambda url: urllib.request.urlopen(url, data=b"{}").close(),
                "aiohttp": lambda url: asyncio.run(by_aiohttp(url)),
                "http.client": by_http_client,
            }
            every = pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)

            @every
            @pytest.mark.parametrize("url", ["https://vault.example/", "https://vault.example:8200/"])
            def test_it(ask, url):
                ask(url)

            @every
            def test_another_port(ask):
                with pytest.raises(LiveCallRefused):
                    ask("https://vault.example:8300/")
            """,
            ini="aquila_guard = all\naquila_ignore_hosts = vault.example:443 vault.example:8200",
            providers="",
        )
    result.assert_outcomes(passed=6 * 3)
    assert len(vault.requests) == 6 * 2


def test_what_is_patched_keeps_its_signature_and_takes_every_form_of_call(run: GuardedRun) -> None:
    result = run(
        """
        import asyncio, inspect, socket, ssl

        PATCHED = [
            (socket, "getaddrinfo"), (socket, "gethostbyname"), (socket, "gethostbyname_ex"),
            *[(socket.socket, name) for name in ("connect", "connect_ex", "sendto", "sendmsg")],
            *[(ssl.SSLContext, name) for name in ("wrap_socket", "wrap_bio")],
            (asyncio.base_events.BaseEventLoop, "getaddrinfo"),
        ]

        @pytest.mark.parametrize(("owner", "name"), PATCHED)
        def test_signature(owner, name):
            patched = getattr(owner, name)
            original = patched.__wrapped__
            assert patched is not original
            for attribute in ("__name__", "__qualname__", "__doc__"):
                assert getattr(patched, attribute) == getattr(original, attribute)
            assert inspect.iscoroutinefunction(patched) == inspect.iscoroutinefunction(original)
            try:
                expected = inspect.signature(original)
            except ValueError:
                return  # a function in C that tells none
            assert inspect.signature(patched) == expected

        CALLS = {"host": "127.0.0.1", "port": 80, "family": 0, "type": socket.SOCK_STREAM, "proto": 0, "flags": 0}

        @pytest.mark.parametrize("positional", range(7))
        def test_getaddrinfo(positional):
            given = list(CALLS.items())
            found = socket.getaddrinfo(*[value for _, value in given[:positional]], **dict(given[positional:]))
            assert found[0][4] == ("127.0.0.1", 80)

        @pytest.mark.parametrize("positional", range(5))
        def test_wrap_bio(positional):
            given = list({"incoming": ssl.MemoryBIO(), "outgoing": ssl.MemoryBIO(), "server_side": False,
                          "server_hostname": "shop.example", "session": None}.items())
            values = [value for _, value in given[:positional]]
            wrapped = ssl.create_default_context().wrap_bio(*values, **dict(given[positional:]))
            assert wrapped.server_hostname == "shop.example"

        @pytest.mark.parametrize("positional", range(7))
        def test_wrap_socket(positional):
            with socket.socket() as end:
                given = list({"sock": end, "server_side": False, "do_handshake_on_connect": False,
                              "suppress_ragged_eofs": True, "server_hostname": "shop.example", "session": None}.items())
                values = [value for _, value in given[:positional]]
                with ssl.create_default_context().wrap_socket(*values, **dict(given[positional:])) as wrapped:
                    assert wrapped.server_hostname == "shop.example"

        def test_datagrams():
            with socket.socket(type=socket.SOCK_DGRAM) as here, socket.socket(type=socket.SOCK_DGRAM) as there:
                there.bind(("127.0.0.1", 0))
                address = there.getsockname()
                assert here.sendto(b"a", address) == here.sendto(b"b", 0, address) == 1
                assert here.sendmsg([b"c"], [], 0, address) == 1
                here.connect(address)
                assert here.sendmsg([b"d"]) == here.sendmsg([b"e"], []) == here.sendmsg([b"f"], [], 0, None) == 1
                assert b"".join(there.recv(1) for _ in range(6)) == b"abcdef"

        def test_wrong_calls_fail_as_ever():
            with socket.socket() as end:
                for call in (end.connect, end.sendto, end.sendmsg, lambda: end.connect(1), lambda: end.sendto(b"")):
                    with pytest.raises(TypeError):
                        call()
        """
    )
    result.assert_outcomes(passed=10 + 7 + 5 + 7 + 2)
