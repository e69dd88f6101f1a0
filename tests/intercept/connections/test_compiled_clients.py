"""Clients whose requests Rust or Go sends are refused where they are given their URL, or say which they would ask.

The packages are stand-ins with the functions of the real ones, which `make test-wild` tries.
"""

from __future__ import annotations

import pytest

from tests.support.guarded import GuardedRun
from tests.support.upstream import Upstream

HTTP_CLIENT = """
    sent = []

    class Client:
        def __init__(self, base_url=None):
            self.base_url = base_url

        def request(self, method, url, **options):
            sent.append(url)

        def post(self, url, **options):
            sent.append(url)

        def set_cookies(self, url, cookies):
            pass

    class AsyncClient:
        async def get(self, url, **options):
            sent.append(url)

    def request(method, url, **options):
        sent.append(url)

    def get(url, **options):
        sent.append(url)
    """

TRANSPORTS = """
    sent = []

    class Request:
        def __init__(self, method, url):
            self.url = url

    class SyncHTTPTransport:
        def execute_sync(self, request):
            sent.append(request.url)

    class HTTPTransport:
        async def execute(self, request):
            sent.append(request.url)

    class SyncClient:
        def post(self, url, headers=None, content=None):
            sent.append(url)

        def execute(self, method, url, headers=None):
            sent.append(url)

        def stream(self, method, url, headers=None):
            sent.append(url)

    class Client:
        async def get(self, url):
            sent.append(url)

        async def put(self, url):
            sent.append(url)
    """

BAML = """
    sent = []

    class BamlError(Exception):
        pass

    class HTTPRequest:
        def __init__(self, url):
            self.url = url

    class BamlRuntime:
        built = 0

        def build_request_sync(self, function_name, args, ctx, tb, cb, env_vars, stream):
            self.built += 1
            if stream or "URL" not in env_vars:
                raise BamlError("no URL")
            return HTTPRequest(env_vars["URL"])

        async def call_function(self, function_name, args, ctx, tb, cb, collectors, env_vars, tags, watchers=None):
            sent.append(env_vars)

        def call_function_sync(self, function_name, args, ctx, tb, cb, collectors, env_vars, tags, watchers=None):
            sent.append(env_vars)

        def stream_function(self, function_name, args, on_event, ctx, tb, cb, collectors, env_vars, tags=None):
            sent.append(env_vars)

        def stream_function_sync(self, function_name, args, on_event, ctx, tb, cb, collectors, env_vars, tags=None):
            sent.append(env_vars)
    """

TENSORZERO = """
    class TensorZeroGateway:
        @staticmethod
        def build_embedded(*, config_file):
            return TensorZeroGateway()

    class AsyncTensorZeroGateway(TensorZeroGateway):
        @staticmethod
        def build_embedded(*, config_file):
            return AsyncTensorZeroGateway()
    """


@pytest.fixture
def run(pytester: pytest.Pytester, provider: Upstream) -> GuardedRun:
    pytester.makepyfile(primp=HTTP_CLIENT, pyqwest=TRANSPORTS, baml_py=BAML, tensorzero=TENSORZERO)
    return GuardedRun(pytester, provider)


def test_a_provider_is_refused_however_it_is_asked(run: GuardedRun) -> None:
    result = run(
        """
        import asyncio, primp
        from primp import request
        base = URL.removesuffix("/chat/completions")

        @pytest.mark.parametrize("ask", [
            lambda: primp.Client().post(URL),
            lambda: primp.Client().post(url=URL),
            lambda: primp.Client().request("POST", URL),
            lambda: primp.Client().request(url=URL, method="POST"),
            lambda: primp.Client(base_url=base).post("/chat/completions"),
            lambda: asyncio.run(primp.AsyncClient().get(URL)),
            lambda: primp.get(URL),
            lambda: primp.get(url=URL),
            lambda: request("POST", URL),
            lambda: primp.get("https://llm.corp.example/v1/chat/completions"),
        ])
        def test_it(ask, aquila_refusals):
            with pytest.raises(pytest.fail.Exception, match=r"its client \\(primp, used by test_it\\)") as one:
                ask()
            assert "aquila_server" in str(one.value)
            assert not primp.sent
            aquila_refusals.forget()
        """
    )
    result.assert_outcomes(passed=10)


def test_a_provider_is_refused_whether_a_client_or_its_transport_is_asked(run: GuardedRun) -> None:
    result = run(
        """
        import asyncio, pyqwest
        request = pyqwest.Request("POST", URL)

        @pytest.mark.parametrize("ask", [
            lambda: pyqwest.SyncClient().post(URL, {}, b""),
            lambda: pyqwest.SyncClient().execute("POST", URL),
            lambda: pyqwest.SyncClient().stream("POST", url=URL),
            lambda: asyncio.run(pyqwest.Client().get(URL)),
            lambda: asyncio.run(pyqwest.Client().put(URL)),
            lambda: pyqwest.SyncHTTPTransport().execute_sync(request),
            lambda: pyqwest.SyncHTTPTransport().execute_sync(request=request),
            lambda: asyncio.run(pyqwest.HTTPTransport().execute(request)),
        ])
        def test_it(ask, aquila_refusals):
            with pytest.raises(pytest.fail.Exception, match=r"its client \\(pyqwest, used by test_it\\)"):
                ask()
            assert not pyqwest.sent
            aquila_refusals.forget()

        def test_others():
            pyqwest.SyncClient().post("https://example.org")
            pyqwest.SyncHTTPTransport().execute_sync(pyqwest.Request("POST", "https://example.org"))
            assert len(pyqwest.sent) == 2
        """
    )
    result.assert_outcomes(passed=9)


def test_what_is_no_provider_and_what_is_live_is_let_through(run: GuardedRun) -> None:
    result = run(
        """
        import primp

        def test_others():
            primp.Client().post("http://127.0.0.1:1/search")
            primp.get("https://example.org")
            primp.Client().set_cookies(URL, {})
            primp.get("http://[::1")  # is for the client to say
            assert len(primp.sent) == 3

        def test_a_mock_in_its_place(monkeypatch):
            monkeypatch.setattr(primp.Client, "post", lambda client, url: "mocked")
            assert primp.Client().post(URL) == "mocked"

        @pytest.mark.aquila_live
        def test_live():
            primp.get(URL)
            assert primp.sent.pop() == URL
        """
    )
    result.assert_outcomes(passed=3)


ASK_BAML = """
    import asyncio, baml_py

    RUNTIME = baml_py.BamlRuntime()

    def call(url):
        RUNTIME.call_function_sync("F", {}, None, None, None, [], {"URL": url} if url else {}, {})

    def call_in_loop(url):
        asyncio.run(RUNTIME.call_function("F", {}, None, None, None, [], {"URL": url} if url else {}, {}))

    def stream(url):
        RUNTIME.stream_function_sync("F", {}, None, None, None, None, [], {"URL": url} if url else {})

    def stream_in_loop(url):
        RUNTIME.stream_function("F", {}, None, None, None, None, [], {"URL": url} if url else {})

    each_way = pytest.mark.parametrize("ask", [call, call_in_loop, stream, stream_in_loop])
    """


def test_baml_is_refused_for_the_url_that_it_would_ask(run: GuardedRun) -> None:
    result = run(
        f"""{ASK_BAML}
    @each_way
    def test_a_provider(ask, aquila_cassette, aquila_refusals):
        with pytest.raises(pytest.fail.Exception, match=r"can answer its client \\(baml_py, used by test_it\\)"):
            ask(URL)
        assert not baml_py.sent
        aquila_refusals.forget()

    @each_way
    def test_what_it_cannot_build_is_its_own_error_and_is_not_sent(ask):
        with pytest.raises(baml_py.BamlError, match="no URL") as raised:
            ask(None)
        assert "see where it would go" in raised.value.__notes__[0]
        assert not baml_py.sent

    @each_way
    def test_this_machine(ask):
        ask("http://127.0.0.1:1/v1/chat/completions")
        assert baml_py.sent.pop()

    @each_way
    @pytest.mark.aquila_live
    def test_a_live_test_has_nothing_built(ask):
        built = RUNTIME.built
        ask(URL)
        ask(None)
        assert RUNTIME.built == built
        baml_py.sent.clear()
    """
    )
    result.assert_outcomes(passed=16)


def test_a_stream_of_baml_that_would_wait_for_ever_for_this_process_is_an_error(run: GuardedRun) -> None:
    result = run(
        f"""{ASK_BAML}
    def test_it(aquila_server):
        url = aquila_server.base_url + "/chat/completions"
        call(url)
        stream_in_loop(url)
        assert len(baml_py.sent) == 2
        with pytest.raises(ValueError, match="BAML's async client in this test, or start `aquila serve`"):
            stream(url)
        assert len(baml_py.sent) == 2
    """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("class BamlRuntime:\n    pass", "it has no build_request_sync"),
        (
            "class BamlRuntime:\n"
            "    def build_request_sync(self, name, more, stream): ...\n"
            "    def call_function(self, name): ...",
            "call_function does not take what build_request_sync does",
        ),
    ],
)
def test_a_baml_that_does_not_say_what_it_would_send_is_named(
    run: GuardedRun, pytester: pytest.Pytester, version: str, says: str
) -> None:
    pytester.makepyfile(baml_py=version)
    result = run("import baml_py\ndef test_it():\n    pass")
    result.assert_outcomes(passed=1)
    said = " ".join(result.stdout.str().split())
    assert f"{says}, so what it sends is neither recorded nor refused" in said


@pytest.mark.parametrize(("mark", "named"), [("", True), ("@pytest.mark.aquila_live", False)])
@pytest.mark.parametrize("kind", ["TensorZeroGateway", "AsyncTensorZeroGateway"])
def test_a_gateway_of_tensorzero_within_the_process_is_named(
    run: GuardedRun, mark: str, named: bool, kind: str
) -> None:
    result = run(
        f"""
        import tensorzero

        {mark}
        def test_it():
            assert type(tensorzero.{kind}.build_embedded(config_file="x")).__name__ == {kind!r}
        """
    )
    result.assert_outcomes(passed=1)
    said = " ".join(result.stdout.str().split())
    assert ("an embedded gateway of tensorzero was started" in said) == named
