"""Side requests: what libraries send by themselves is never recorded, never a miss, and fails as without a network."""

from __future__ import annotations

import textwrap

import pytest

import tests.support.preloaded  # noqa: F401
from aquila.intercept.http_clients.side_requests import is_download, is_side_host, is_side_request
from tests.support.slow import slow_but

TRACES = "https://api.openai.com/v1/traces/ingest"

SENDERS = """
    import threading, urllib.error, urllib.request

    def by_httpx(url):
        import httpx
        try:
            httpx.post(url, json={"trace": 1})
        except httpx.ConnectError as error:
            return error

    def by_httpx2(url):
        import httpx2
        try:
            httpx2.post(url, json={"trace": 1})
        except httpx2.ConnectError as error:
            return error

    def by_requests(url):
        import requests
        try:
            requests.post(url, json={"trace": 1})
        except requests.ConnectionError as error:
            return error

    def by_urllib3(url):
        import urllib3
        try:
            urllib3.PoolManager().request("POST", url, body=b"{}", retries=False)
        except urllib3.exceptions.HTTPError as error:
            return error

    def by_urllib(url):
        try:
            urllib.request.urlopen(url, data=b"{}")
        except urllib.error.URLError as error:
            return error

    def by_aiohttp(url):
        import aiohttp, asyncio
        async def post():
            async with aiohttp.ClientSession() as session:
                try:
                    await session.post(url, json={"trace": 1})
                except aiohttp.ClientError as error:
                    return error
        return asyncio.run(post())

    def in_a_thread(function, *arguments):
        results = []
        thread = threading.Thread(target=lambda: results.append(function(*arguments)))
        thread.start()
        thread.join()
        return results[0]

    def by_httpx_in_a_thread(url):
        return in_a_thread(by_httpx, url)
    """
WAYS = ["by_httpx", "by_httpx2", "by_requests", "by_urllib3", "by_urllib", "by_aiohttp", "by_httpx_in_a_thread"]


@pytest.mark.parametrize("way", slow_but(["by_httpx2", "by_aiohttp", "by_httpx_in_a_thread"], WAYS))
@pytest.mark.parametrize("arguments", slow_but([[]], [[], ["--aquila-record"]]), ids=["replay", "record"])
def test_it_fails_as_without_a_network_and_fails_no_test(
    way: str, arguments: list[str], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(senders=textwrap.dedent(SENDERS))
    pytester.makepyfile(
        f"""
        import senders

        def test_it(aquila_cassette):
            for _ in range(2):
                assert "name resolution" in str(senders.{way}({TRACES!r}))

        def test_on_a_host_of_telemetry(aquila_cassette):
            assert "name resolution" in str(senders.{way}("https://eu.i.posthog.com/batch/"))
        """
    )
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess(*arguments)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*0 recorded, 0 missed*"])
    assert not list(pytester.path.glob("cassettes/**/*.yaml"))


@pytest.mark.parametrize("way", slow_but(["by_httpx2", "by_urllib"], WAYS))
def test_without_a_cassette_it_fails_in_the_same_way(way: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(senders=textwrap.dedent(SENDERS))
    pytester.makepyfile(
        f"""
        import senders

        def test_on_a_host_of_telemetry():
            assert "name resolution" in str(senders.{way}("https://eu.i.posthog.com/batch/"))

        def test_on_the_host_of_a_provider():
            assert "name resolution" in str(senders.{way}({TRACES!r}))
        """
    )
    pytester.syspathinsert()
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_project_adds_rows_and_takes_others_away(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\naquila_side_requests =\n    POST traces.acme.example/v1/*\n    -POST api.openai.com/v1/traces/ingest"
    )
    pytester.makepyfile(
        f"""
        import httpx, pytest

        def test_added(aquila_cassette):
            with pytest.raises(httpx.ConnectError):
                httpx.post("https://traces.acme.example/v1/spans", json={{}})

        def test_taken_away(aquila_cassette):
            httpx.post({TRACES!r}, json={{}})
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*CassetteMiss*"])


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("POST", "api.openai.com/v1/traces/ingest", True),
        ("post", "API.openai.com/v1/traces/ingest?x=1", True),
        ("GET", "api.openai.com/v1/traces/ingest", False),
        ("POST", "api.openai.com/v1/chat/completions", False),
        ("GET", "raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json", True),
        ("GET", "raw.githubusercontent.com/acme/prompts/main/x.txt", False),
        ("GET", "raw.githubusercontent.com/BerriAI/litellm/main/README.md", False),
        ("POST", "eu.api.smith.langchain.com/runs/multipart", True),
        ("POST", "api.smith.langchain.com/runs/query", False),
        ("POST", "us.i.posthog.com/flags/", False),
        ("POST", "o1.ingest.us.sentry.io/api/7/envelope/", True),
        ("POST", "sentry.acme.example/api/7/envelope/", True),
        ("POST", "acme.example/api/7/envelope/", False),
        ("GET", "logfire-us.pydantic.dev/v1/query", False),
        ("GET", "logfire-us.pydantic.dev/v1/info", True),
        ("GET", "raw.githubusercontent.com/mem0ai/mem0/main/mem0/memory/oss_notices_config.json", True),
        ("POST", "os-api.agno.com/telemetry/runs", True),
        ("POST", "otlp.agentops.ai/v1/traces", True),
        ("POST", "api.braintrust.dev/otel/v1/traces", True),
        ("POST", "api.eu1.honeycomb.io/v1/traces", True),
        ("GET", "pypi.org/pypi/fastmcp/json", True),
        ("GET", "pypi.org/pypi/eagles/json", False),
        ("GET", "api.gradio.app/pkg-version", True),
        ("GET", "api.gradio.app/v3/tunnel-request", False),
        ("POST", "app.phoenix.arize.com/s/birds/v1/traces", True),
        ("POST", "t.explodinggradients.com/", True),
        ("POST", "docs.explodinggradients.com/", False),
        ("GET", "packages.unstructured.io/python-telemetry?platform=Linux", True),
        ("GET", "packages.unstructured.io/simple/", False),
        ("GET", "config.mlflow-telemetry.io/3.17.2.json", True),
        ("GET", "169.254.169.254/metadata/instance?api-version=2021-12-13", True),
        ("GET", "169.254.169.254/metadata/identity/oauth2/token", False),
        ("GET", "metadata.google.internal/computeMetadata/v1/instance/", False),
        ("POST", "api.openai.com/v1/traces", False),
        ("GET", "otlp.agentops.ai/v1/traces", False),
        ("POST", "localhost/api/show", False),
        ("POST", "evil-api.openai.com/v1/traces/ingest", False),
    ],
)
def test_the_table_knows_method_host_and_path(method: str, url: str, expected: bool) -> None:
    host, _, path = url.partition("/")
    assert is_side_request(method, host, None, f"/{path}", ()) is expected


def test_a_port_is_part_of_a_host_where_a_row_names_it() -> None:
    assert is_side_request("POST", "localhost", 11434, "/api/show", ())
    assert not is_side_request("POST", "localhost", 8080, "/api/show", ())


def test_only_rows_for_a_whole_host_speak_for_it() -> None:
    rows = ("* *.telemetry.example/*", "POST api.acme.example/v1/spans")
    assert is_side_host("eu.telemetry.example", rows)
    assert not is_side_host("api.acme.example", rows)
    assert not is_side_host("api.openai.com", rows)


@pytest.mark.parametrize("minus", ["-", "- "])
def test_a_minus_removes_a_row_of_either_table(minus: str) -> None:
    rows = "POST api.openai.com/v1/traces/ingest", "GET openaipublic.blob.core.windows.net/*encodings/*"
    extra = tuple(f"{minus}{row}" for row in rows)
    assert not is_side_request("POST", "api.openai.com", 443, "/v1/traces/ingest", extra)
    assert not is_download("GET", "openaipublic.blob.core.windows.net", "/encodings/o200k_base.tiktoken", extra)


def test_what_tiktoken_and_chromadb_download_is_neither_answered_nor_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from aquila.intercept.policy import find_answering_scope

        def find(path="/encodings/cl100k_base.tiktoken"):
            return find_answering_scope("GET", "https", "openaipublic.blob.core.windows.net", None, path)

        def test_with_a_cassette(aquila_cassette):
            assert find() is None
            assert find("/other") is not None
            model = "chroma-onnx-models.s3.amazonaws.com", None, "/all-MiniLM-L6-v2/onnx.tar.gz"
            assert find_answering_scope("GET", "https", *model) is None

        @pytest.mark.aquila(side_requests="-GET openaipublic.blob.core.windows.net/*encodings/*")
        def test_taken_away():
            assert find() is not None
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)
