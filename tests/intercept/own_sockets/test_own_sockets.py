"""Clients that speak HTTP over sockets of their own are recorded and replayed, under the provider's real name."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from tests.intercept.own_sockets.answers import HOST, PARTS, events
from tests.intercept.own_sockets.conftest import Run
from tests.support.real_hosts import real_hosts
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream

WAYS = [
    "over_socket",
    "over_asyncio",
    "over_uvloop",
    "over_proactor",
    "over_trio",
    "over_anyio",
    "over_httpcore",
]


ASKING = """
    import ownclients

    def test_it(aquila_cassette):
        status, chunks = ownclients.{way}({prompt!r})
        text = b"".join(chunks).decode()
        assert status == 200, text
        assert text.endswith("data: [DONE]\\n\\n") and " sea" in text
        assert len(chunks) == 6
    """


@pytest.mark.parametrize("way", slow_but(["over_socket", "over_uvloop", "over_trio"], WAYS))
def test_what_a_client_asks_over_its_own_socket_is_recorded_and_replayed(
    way: str, run: Run, provider: Upstream, pytester: pytest.Pytester
) -> None:
    recorded = run(ASKING.format(way=way, prompt="Where?"), "--aquila-record")
    recorded.assert_outcomes(passed=1)
    assert len(provider.requests) == 1
    (cassette,) = (pytester.path / "cassettes").rglob("*.yaml")
    assert "Far out at sea." in cassette.read_text()
    assert "sk-own" not in cassette.read_text()
    run(ASKING.format(way=way, prompt="Where?")).assert_outcomes(passed=1)
    drifted = run(ASKING.format(way=way, prompt="When?"))
    drifted.assert_outcomes(failed=1)
    drifted.stdout.fnmatch_lines(["*messages[[]0[]].content differs*"])
    assert len(provider.requests) == 1


def test_a_script_answers_such_a_client_and_a_fault_breaks_its_connection(run: Run, provider: Upstream) -> None:
    run(
        """
        import pytest
        import ownclients

        def test_script(aquila_script):
            aquila_script.reply("Far out.")
            status, chunks = ownclients.over_plain_socket("Where?")
            assert status == 200 and b"out" in b"".join(chunks)

        @pytest.mark.aquila(faults="cut_stream")
        def test_fault(aquila_script):
            aquila_script.reply("Far out at sea, where nobody is.")
            with pytest.raises((OSError, ValueError)):
                ownclients.over_socket("Where?")

        @pytest.mark.aquila(faults="overloaded")
        def test_overloaded(aquila_script):
            aquila_script.reply("Far out.")
            assert ownclients.over_socket("Where?")[0] in (503, 529)
        """
    ).assert_outcomes(passed=3)
    assert provider.requests == []


def test_a_miss_is_told_as_an_error_that_is_not_tried_again_and_fails_the_test(run: Run, provider: Upstream) -> None:
    result = run(
        """
        import json
        import ownclients

        def test_it(aquila_cassette):
            status, chunks = ownclients.over_socket("Where?")
            assert status == 404
            assert json.loads(b"".join(chunks))["error"]["code"] == "cassette_miss"
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteMiss*"])
    assert provider.requests == []


def test_what_is_no_request_of_http_1_is_refused_by_name(run: Run, provider: Upstream) -> None:
    result = run(
        """
        import pytest
        import ownclients

        @pytest.mark.parametrize("data", [b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n", b"\\x00\\x01\\r\\n\\r\\n"])
        def test_it(data, aquila_cassette):
            assert ownclients.send(data) == b""
        """
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*a connection to api.openai.com:80 was refused: no cassette can answer its client*"])
    result.stdout.fnmatch_lines(["*sockets of its own: it speaks HTTP/2)", "*", "Let it ask by HTTP/1.1*"])
    result.stdout.fnmatch_lines(["*sockets of its own: what it sent is not HTTP/1.1)", "*", "*`aquila serve *"])


def test_a_client_that_goes_through_a_proxy_is_refused_and_told_to_unset_it(run: Run, provider: Upstream) -> None:
    result = run(
        """
        import socket
        import ssl

        def test_it(aquila_cassette, monkeypatch):
            monkeypatch.setenv("https_proxy", "http://somebody:a-password@127.0.0.1:3128")
            with socket.create_server(("127.0.0.1", 0)) as proxy, socket.create_connection(proxy.getsockname()) as mine:
                mine.settimeout(60)
                ssl.create_default_context().wrap_socket(mine, server_hostname="api.openai.com")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*api.openai.com* was refused: *", "*", "*Or unset HTTPS_PROXY for the tests: *"])
    assert provider.requests == []


def test_a_client_that_refuses_the_certificate_fails_its_test_and_is_told_why(run: Run, provider: Upstream) -> None:
    """As those of pyOpenSSL do, which verify past the module ``ssl``."""
    result = run(
        """
        import socket, ssl

        def test_it(aquila_cassette):
            coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
            with socket.create_connection(("api.openai.com", 443)) as plain:
                private = super(ssl.SSLContext, ssl.create_default_context())._wrap_bio
                safe = private(coming, going, server_side=False, server_hostname="api.openai.com")
                refused = False
                while not refused:
                    try:
                        safe.do_handshake()
                    except ssl.SSLWantReadError:
                        plain.sendall(going.read())
                        coming.write(plain.recv(65536))
                    except ssl.SSLCertVerificationError:
                        plain.sendall(going.read())
                        refused = plain.recv(1) == b""  # the other side has heard it
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*it checks the certificate of the provider in a way of its own)", "*`aquila serve *"])
    assert provider.requests == []


def test_a_client_that_breaks_off_the_handshake_fails_its_test_whatever_becomes_of_its_error(
    run: Run, provider: Upstream
) -> None:
    """As Twisted does where the certificate names another host: it tells its program, and not the other side."""
    result = run(
        """
        import socket, ssl, struct

        def test_it(aquila_cassette):
            coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
            with socket.create_connection(("api.openai.com", 443)) as plain:
                private = super(ssl.SSLContext, ssl.create_default_context())._wrap_bio
                safe = private(coming, going, server_side=False, server_hostname="api.openai.com")
                try:
                    safe.do_handshake()
                except ssl.SSLWantReadError:
                    plain.sendall(going.read())
                assert plain.recv(1)
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        """
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # of the body, or of the teardown that waits for the refusal
    result.stdout.fnmatch_lines(["*it checks the certificate of the provider in a way of its own)", "*`aquila serve *"])
    assert provider.requests == []


def test_a_client_that_trusts_the_certificate_may_leave_within_the_handshake(run: Run) -> None:
    """As one does whose time limit strikes there, or that lost a race and is cancelled."""
    run(
        """
        import socket, ssl, struct, threading, time
        import pytest

        @pytest.mark.parametrize("linger", [0, 1])
        def test_it(linger, aquila_cassette):
            coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
            with socket.create_connection(("api.openai.com", 443)) as plain:
                safe = ssl.create_default_context().wrap_bio(coming, going, server_hostname="api.openai.com")
                with pytest.raises(ssl.SSLWantReadError):
                    safe.do_handshake()
                plain.sendall(going.read())
                assert plain.recv(1)
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0))
            deadline = time.monotonic() + 60
            while sum(each.name == "aquila-provider" for each in threading.enumerate()) > 1:  # one accepts others
                assert time.monotonic() < deadline
                time.sleep(0.001)
        """
    ).assert_outcomes(passed=2)


def test_conversations_in_threads_and_in_turn_are_each_recorded(run: Run, provider: Upstream) -> None:
    source = """
        import concurrent.futures
        import ownclients

        def test_it(aquila_cassette):
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(ownclients.over_socket, [f"Where is {n}?" for n in range(8)]))
            answers += [ownclients.over_socket("And?"), ownclients.over_socket("And?")]
            assert [status for status, _ in answers] == [200] * 10
        """
    run(source, "--aquila-record").assert_outcomes(passed=1)
    assert len(provider.requests) == 10
    run(source).assert_outcomes(passed=1)
    assert len(provider.requests) == 10


def test_a_client_that_leaves_early_is_recorded_and_replayed_as_it_was(run: Run, provider: Upstream) -> None:
    source = """
        import ownclients

        def test_it(aquila_cassette):
            assert b"Far" in ownclients.after_first_part("Where?")
        """
    run(source, "--aquila-record").assert_outcomes(passed=1)
    run(source).assert_outcomes(passed=1)
    assert len(provider.requests) == 1


IMPATIENT = """
    import threading
    import pytest
    import ownclients

    @pytest.mark.parametrize(("silent_after", "closes_half"), [(0, False), (2, True)])
    def test_it(silent_after, closes_half, aquila_cassette):
        with pytest.raises(TimeoutError):
            ownclients.over_impatient_socket(f"Be silent after {silent_after}!", closes_half)
        _, *answering = [thread for thread in threading.enumerate() if thread.name == "aquila-provider"]
        for thread in answering:
            thread.join(20)
            assert not thread.is_alive()
    """


@pytest.mark.slow
def test_a_client_that_stops_waiting_is_noticed_at_once_and_replayed_as_it_was(run: Run) -> None:
    released = threading.Event()

    def fall_silent(path: str, body: bytes) -> Answer:
        count = int(json.loads(body)["messages"][0]["content"][-2])
        return Answer(chunks=events(PARTS), before_chunk=lambda number: number == count and released.wait(60))

    with real_hosts(HOST, script=fall_silent) as provider:
        try:
            run(IMPATIENT, "--aquila-record").assert_outcomes(passed=2)
            run(IMPATIENT).assert_outcomes(passed=2)
        finally:
            released.set()
        assert len(provider.requests) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="on other systems it counts as leaving")
def test_a_client_that_closes_its_side_before_it_reads_gets_the_whole_answer(run: Run, provider: Upstream) -> None:
    source = """
        import pytest
        import ownclients

        @pytest.mark.aquila(faults="cut_stream")
        def test_cut(aquila_script):
            aquila_script.reply("Far out at sea.")
            with pytest.raises((OSError, ValueError)):
                ownclients.over_impatient_socket("Where?", closes_half=True)

        def test_it(aquila_cassette):
            assert len(ownclients.over_impatient_socket("Where?", closes_half=True)[1]) == 6
        """
    run(source, "--aquila-record").assert_outcomes(passed=2)
    run(source).assert_outcomes(passed=2)
    assert len(provider.requests) == 1


def test_nothing_is_left_of_it_after_its_test(run: Run, provider: Upstream) -> None:
    run(
        """
        import socket, threading
        import pytest
        import ownclients
        from aquila.errors import LiveCallRefused

        connected = []

        def test_first(aquila_cassette):
            connected.append(socket.create_connection(("api.openai.com", 443)))
            assert ownclients.over_socket("Where?")[0] == 200

        def test_second(aquila_refusals):
            assert not [thread for thread in threading.enumerate() if thread.name == "aquila-provider"]
            with connected[0] as left:
                left.settimeout(20)
                assert left.recv(1) == b""
            with pytest.raises(LiveCallRefused):
                socket.create_connection(("api.openai.com", 443))
            with pytest.raises(LiveCallRefused):
                ownclients.ssl.create_default_context().wrap_bio(
                    ownclients.ssl.MemoryBIO(), ownclients.ssl.MemoryBIO(), server_hostname="api.openai.com"
                )
            aquila_refusals.forget()
        """,
        "--aquila-record",
    ).assert_outcomes(passed=2)


def test_a_child_process_is_answered_too(run: Run, provider: Upstream) -> None:
    source = """
        import subprocess, sys
        import pytest

        @pytest.mark.parametrize("prompt", {prompts})
        def test_it(prompt, aquila_script):
            aquila_script.reply("Far out.")
            asking = "import ownclients; print(ownclients.over_socket('Where?')[0])"
            assert subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True).stdout == "200\\n"
        """
    run(source.format(prompts=["Where?"])).assert_outcomes(passed=1)
    assert provider.requests == []
