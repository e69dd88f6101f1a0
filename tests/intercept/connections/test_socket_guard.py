"""In a test run nothing reaches a provider that no test asked for. A real server counts what does: nothing."""

from __future__ import annotations

import os
import re
import textwrap

import pytest

from tests.support.guarded import GuardedRun
from tests.support.upstream import Upstream

WAYS = {
    "httpx2": """
        import httpx2
        with httpx2.Client() as client:
            client.post(URL)
        """,
    "httpx2_async": """
        import asyncio, httpx2
        async def go():
            async with httpx2.AsyncClient() as client:
                await client.post(URL)
        asyncio.run(go())
        """,
    "httpx": """
        import httpx
        with httpx.Client() as client:
            client.post(URL)
        """,
    "openai": """
        import openai
        with openai.OpenAI(base_url=URL.removesuffix("/chat/completions"), api_key="x") as client:
            client.chat.completions.create(model="m", messages=[])
        """,
    "requests": """
        import requests
        requests.post(URL)
        """,
    "urllib": """
        import urllib.request
        urllib.request.urlopen(URL, data=b"{}").close()
        """,
    "urllib3": """
        import urllib3
        urllib3.request("POST", URL, retries=False)
        """,
    "aiohttp": """
        import asyncio, aiohttp
        async def go():
            async with aiohttp.ClientSession() as session:
                await (await session.post(URL)).read()
        asyncio.run(go())
        """,
}
"""Ways to make a request, as code. Each ends with an exception where it is refused."""


@pytest.fixture
def run(pytester: pytest.Pytester, provider: Upstream) -> GuardedRun:
    return GuardedRun(pytester, provider, WAYS)


def output(result: pytest.RunResult) -> str:
    return "\n".join(result.outlines + result.errlines)


def test_every_way_out_is_refused_in_the_test_itself(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        @pytest.mark.parametrize("way", ways.NAMES)
        def test_it(way):
            with pytest.raises(BaseException) as caught:
                getattr(ways, way)()
            error = caught.value
            assert type(error).__name__ == "LiveCallRefused", repr(error)
            for part in ("test_it.py::test_it", "127.0.0.1:", "aquila_live", "=live", "aquila_cassette"):
                assert part in str(error)
        """
    )
    result.assert_outcomes(passed=len(WAYS))
    assert provider.requests == []


def test_the_refusal_names_the_url_and_no_secret(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        from aquila.errors import LiveCallRefused

        def test_fails():
            import httpx2
            with httpx2.Client() as client:
                client.post(URL + "?key=sk-secret-1234567890", auth=("user", "sk-secret-1234567890"))

        def test_path_and_query(aquila_refusals):
            import httpx2
            with pytest.raises(LiveCallRefused) as refused:
                httpx2.get("https://api.openai.com/v1/keys/sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7j?key=q7Zt93kx")
            assert "/v1/keys/" in str(refused.value)
            assert "sk-proj" not in str(refused.value)
            assert "q7Zt93kx" not in str(refused.value)
            aquila_refusals.forget()
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    refusal = next(line for line in result.outlines if "LiveCallRefused:" in line)
    assert f"POST {provider.url}/v1/chat/completions" in refusal
    assert "sk-secret" not in refusal
    assert provider.requests == []


def test_threads_executors_and_to_thread_are_refused(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        import asyncio, concurrent.futures, threading
        from aquila.errors import LiveCallRefused

        def test_a_thread():
            caught = []
            def work():
                try:
                    httpx2()
                except LiveCallRefused as error:
                    caught.append(error)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert len(caught) == 1

        def test_an_executor():
            with concurrent.futures.ThreadPoolExecutor() as pool:
                assert isinstance(pool.submit(httpx2_async).exception(), LiveCallRefused)

        def test_to_thread():
            async def go():
                await asyncio.to_thread(requests)
            with pytest.raises(LiveCallRefused):
                asyncio.run(go())
        """
    )
    result.assert_outcomes(passed=3)
    assert provider.requests == []


@pytest.mark.parametrize("fixture", ["", "aquila_cassette"])
def test_a_thread_that_outlives_its_test_never_gets_out(fixture: str, run: GuardedRun, provider: Upstream) -> None:
    result = run(
        f"""
        import contextvars, threading
        from aquila.errors import AquilaError
        released, caught = threading.Event(), []

        def late():
            released.wait(60)
            for way in (httpx2, httpx, requests):
                try:
                    way()
                except AquilaError as error:
                    caught.append(error)

        started = []

        def test_starts_threads({fixture}):
            bare = threading.Thread(target=late)
            with_context = threading.Thread(target=contextvars.copy_context().run, args=(late,))
            for thread in (bare, with_context):
                thread.start()
                started.append(thread)

        def test_that_runs_meanwhile():
            released.set()
            for thread in started:
                thread.join()
            assert len(caught) == 6
        """
    )
    result.assert_outcomes(passed=2)
    assert provider.requests == []


def test_between_tests_nothing_gets_out(run: GuardedRun, pytester: pytest.Pytester, provider: Upstream) -> None:
    pytester.makeconftest(
        textwrap.dedent(
            """
            import ways
            from aquila.errors import LiveCallRefused

            def pytest_sessionfinish():
                try:
                    ways.httpx2()
                except LiveCallRefused as error:
                    print("REFUSED", error)
            """
        )
    )
    result = run("def test_it(): pass", "-s")
    assert re.search(r"REFUSED .*\n\n  test       none is running", output(result))
    assert provider.requests == []


@pytest.mark.slow
def test_child_processes_that_know_nothing_of_aquila_are_refused(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        import multiprocessing, subprocess, sys

        @pytest.mark.parametrize("way", ["httpx2", "openai", "urllib", "aiohttp"])
        def test_a_subprocess(way, aquila_refusals):
            done = subprocess.run([sys.executable, "-c", f"import ways; ways.{way}()"], capture_output=True, text=True)
            assert "LiveCallRefused: " in done.stderr and "test_it.py::test_a_subprocess" in done.stderr, done.stderr
            assert done.returncode == 1
            assert "test_it.py::test_a_subprocess" in str(aquila_refusals[0])
            aquila_refusals.forget()

        @pytest.mark.parametrize("method", ["spawn", "fork"])
        @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
        def test_multiprocessing(method, aquila_refusals):
            process = multiprocessing.get_context(method).Process(target=ways.httpx2)
            process.start()
            process.join()
            assert process.exitcode == 1
            assert len(aquila_refusals) == 1
            aquila_refusals.forget()
        """,
        subprocess=True,
    )
    result.assert_outcomes(passed=6)
    assert provider.requests == []


@pytest.mark.slow
def test_a_grandchild_is_refused_too(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        import subprocess, sys

        def test_it(aquila_refusals):
            inner = "import ways; ways.httpx2()"
            outer = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)"
            done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True)
            assert "LiveCallRefused" in done.stderr
            assert len(aquila_refusals) == 1
            aquila_refusals.forget()
        """
    )
    result.assert_outcomes(passed=1)
    assert provider.requests == []


@pytest.mark.parametrize("way", ["marker", "option", "off", "ignored"])
def test_what_a_run_asks_for_gets_out(way: str, run: GuardedRun, provider: Upstream) -> None:
    marker = "@pytest.mark.aquila_live" if way == "marker" else ""
    arguments = ["--aquila-transport=live"] if way == "option" else []
    ini = {"off": "aquila_guard = off", "ignored": "aquila_ignore_hosts = 127.0.0.1"}.get(way, "")
    result = run(
        f"""
        {marker}
        def test_it():
            for way in ({", ".join(WAYS.keys() - {"openai"})}):
                way()
        """,
        *arguments,
        ini=ini,
    )
    result.assert_outcomes(passed=1)
    assert len(provider.requests) == len(WAYS) - 1


def test_a_live_test_opens_no_way_for_the_others(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        @pytest.mark.aquila_live
        def test_live():
            httpx2()

        def test_other():
            httpx2()
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    assert len(provider.requests) == 1


def test_known_providers_are_refused_before_their_name_is_resolved(run: GuardedRun) -> None:
    result = run(
        """
        import socket, ssl
        from aquila.errors import LiveCallRefused

        @pytest.mark.parametrize("host", [
            "api.openai.com", "api.anthropic.com", "my-resource.openai.azure.com", "openrouter.ai",
            "bedrock-runtime.eu-west-1.amazonaws.com", "generativelanguage.googleapis.com",
            "europe-west1-aiplatform.googleapis.com", "API.OpenAI.com.",
        ])
        def test_provider(host):
            with pytest.raises(LiveCallRefused, match="refused"):
                socket.getaddrinfo(host, 443)
            with pytest.raises(LiveCallRefused):
                ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=host)

        @pytest.mark.parametrize("url", [
            "https://llm.corp.example/v1/chat/completions", "https://llm.corp.example/v1/messages",
        ])
        def test_any_host_that_is_asked_like_a_model(url):
            import httpx2
            with httpx2.Client() as client, pytest.raises(LiveCallRefused):
                client.post(url)

        def test_others_are_not():
            from aquila.intercept.policy import check_connection
            for host in ("example.org", "s3.amazonaws.com", "notopenrouter.ai", "api.openai.com.evil.example"):
                check_connection(host, 443)
        """
    )
    result.assert_outcomes(passed=11)


def test_macos_may_look_for_the_proxy_of_a_request_that_a_mock_answers(run: GuardedRun) -> None:
    """Its usual settings have a network without proxies, so Python asks for the address of each host."""
    result = run(
        """
        import urllib.request, requests, requests.adapters

        SETTINGS = {"exclude_simple": False, "exceptions": ["*.local", "169.254/16"]}

        @pytest.fixture(autouse=True)
        def as_on_macos(monkeypatch):
            monkeypatch.setattr(
                "requests.utils.proxy_bypass", lambda host: urllib.request._proxy_bypass_macosx_sysconf(host, SETTINGS)
            )

        def test_mocked(monkeypatch):
            answer = requests.Response()
            answer.status_code = 200
            monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", lambda *_, **__: answer)
            assert requests.post("https://api.openai.com/v1/chat/completions", json={}).ok

        def test_refused():
            requests.post("https://api.openai.com/v1/chat/completions", json={})
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    # With its path or port: the request itself. Python 3.14 looks for no address first, so less is loaded, which names
    # no path.
    assert re.search(r"LiveCallRefused: .*api\.openai\.com(/v1/\S*|:443) was refused", output(result))


def test_a_guard_of_all_refuses_every_connection_but_loopback(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        import socket
        from aquila.errors import LiveCallRefused

        def test_it():
            with pytest.raises(LiveCallRefused):
                socket.create_connection(("192.0.2.1", 80), timeout=60)
            with pytest.raises(LiveCallRefused):
                socket.getaddrinfo("example.org", 80)
            for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
                with socket.socket(family) as end, pytest.raises(LiveCallRefused):
                    end.connect((target, 80))
                with socket.socket(family) as end, pytest.raises(LiveCallRefused):
                    end.connect_ex((target, 80))
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
            with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as end:
                end.connect(server.getsockname())
        """,
        ini="aquila_guard = all",
    )
    result.assert_outcomes(passed=1)


def test_plugins_that_put_back_what_they_found_take_no_guard_off(
    run: GuardedRun, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AQUILA_RUN")  # a child of a test run is guarded before it loads a plugin
    putting_back = """
        import socket

        {kept} = socket.socket.{method}

        def pytest_runtest_teardown():
            socket.socket.{method} = {kept}
        """
    pytester.makepyfile(
        pytest_socket=putting_back.format(kept="_true_connect", method="connect"),
        of_no_known_name=putting_back.format(kept="_kept", method="connect_ex"),
    )
    result = run(
        """
        import socket
        from aquila.errors import LiveCallRefused

        def try_to(method):
            with socket.socket() as end, pytest.raises(LiveCallRefused):
                getattr(end, method)(("192.0.2.1", 80))

        @pytest.fixture
        def late(aquila_refusals):
            yield
            try_to("connect")
            aquila_refusals.forget()

        def test_first(late):
            try_to("connect_ex")

        def test_second():
            try_to("connect")
            try_to("connect_ex")
        """,
        *("-p", "pytest_socket", "-p", "of_no_known_name"),
        ini="aquila_guard = all",
        subprocess=True,
    )
    result.assert_outcomes(passed=2)


def test_after_the_run_everything_is_put_back(run: GuardedRun) -> None:
    import socket
    import ssl

    def state() -> list[object]:
        return [
            socket.getaddrinfo,
            socket.socket.connect,
            socket.socket.connect_ex,
            ssl.SSLContext.wrap_socket,
            ssl.SSLContext.wrap_bio,
            {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        ]

    before = state()
    run("def test_it(aquila_cassette): pass").assert_outcomes(passed=1)
    assert state() == before


@pytest.mark.slow
def test_a_run_with_another_client_library_loads_no_client_of_ours(run: GuardedRun) -> None:
    result = run(
        """
        def test_it():
            import sys, httpx
            with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
                client.get("https://example.org")
            assert not {"httpx2", "openai", "vcr", "yaml"} & sys.modules.keys()
        """,
        subprocess=True,
    )
    result.assert_outcomes(passed=1)


def test_a_handshake_may_name_its_server_by_position(run: GuardedRun) -> None:
    result = run(
        """
        import socket, ssl
        from aquila.errors import LiveCallRefused

        HOSTS = ["shop.example", b"shop.example"]
        PROVIDERS = ["api.openai.com", b"api.openai.com"]

        def wrap_bio(host):
            context = ssl.create_default_context()
            return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), False, host)

        def wrap_socket(host):
            context = ssl.create_default_context()
            with socket.socket() as unconnected:
                return context.wrap_socket(unconnected, False, False, True, host)

        @pytest.mark.parametrize("host", HOSTS)
        @pytest.mark.parametrize("wrap", [wrap_bio, wrap_socket])
        def test_of_another_server(wrap, host):
            wrapped = wrap(host)
            assert wrapped.server_hostname in HOSTS
            if wrap is wrap_socket:
                wrapped.close()

        @pytest.mark.parametrize("host", PROVIDERS)
        @pytest.mark.parametrize("wrap", [wrap_bio, wrap_socket])
        def test_of_a_provider(wrap, host):
            with pytest.raises(LiveCallRefused):
                wrap(host)
        """
    )
    result.assert_outcomes(passed=8)


def test_a_socket_whose_connection_is_refused_is_closed_and_its_host_may_be_named_in_bytes(run: GuardedRun) -> None:
    """Its owner closes it only after an ``Exception``, which the outcome of a test is not."""
    result = run(
        """
        import socket
        from aquila.errors import LiveCallRefused

        @pytest.mark.parametrize("host", ["api.openai.com", b"api.openai.com"])
        def test_it(host):
            with socket.socket() as connecting:
                with pytest.raises(LiveCallRefused) as refused:
                    connecting.connect((host, 443))
                assert isinstance(refused.value, pytest.fail.Exception)
                assert connecting.fileno() == -1
        """
    )
    result.assert_outcomes(passed=2)
