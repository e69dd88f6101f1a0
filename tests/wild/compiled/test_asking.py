"""Clients in Rust and Go that ask the server at ``OPENAI_BASE_URL``: refused, live, and by ``aquila_server``."""

import asyncio
import os
import sys

import baml_py
import httpr
import primp
import pyqwest
import pytest
import tls_client
import wreq
import wreq.blocking

from aquila.errors import LiveCallRefused

BASE = os.environ["OPENAI_BASE_URL"]
URL = f"{BASE}/chat/completions"

SOURCE = """
client<llm> Model {
  provider openai
  options {
    model "gpt-4.1-mini"
    api_key env.OPENAI_API_KEY
    base_url env.OPENAI_BASE_URL
  }
}
function Greet(name: string) -> string {
  client Model
  prompt #"Greet {{ name }}."#
}
"""
RUNTIME = baml_py.BamlRuntime.from_files("baml_src", {"main.baml": SOURCE}, {})
CONTEXT = baml_py.BamlCtxManager(RUNTIME)


def given():
    """The arguments of BAML's functions, as the code that it generates gives them."""
    return ("Greet", {"name": "Ann"}), (CONTEXT.get(), None, None, [], dict(os.environ), {})


def text_of(result):
    assert result.is_ok(), result
    return result.cast_to(*[sys.modules[__name__]] * 3, False, RUNTIME)


def baml():
    first, rest = given()
    return text_of(RUNTIME.call_function_sync(*first, *rest))


def baml_stream():
    first, rest = given()
    return text_of(RUNTIME.stream_function_sync(*first, None, *rest).done(CONTEXT.get()))


def baml_async():
    async def call():
        first, rest = given()
        return await RUNTIME.call_function(*first, *rest)

    return text_of(asyncio.run(call()))


def baml_async_stream():
    async def stream():
        first, rest = given()
        return await RUNTIME.stream_function(*first, None, *rest).done(CONTEXT.get())

    return text_of(asyncio.run(stream()))


def primp_function():
    primp.post(URL, json={"model": "gpt-4.1-mini"})


def primp_client():
    primp.Client(base_url=BASE).request("POST", "/chat/completions", json={"model": "gpt-4.1-mini"})


def primp_async():
    async def post():
        await primp.AsyncClient().post(URL, json={"model": "gpt-4.1-mini"})

    asyncio.run(post())


def wreq_blocking():
    wreq.blocking.post(URL, json={"model": "gpt-4.1-mini"})


def wreq_blocking_client():
    wreq.blocking.Client().post(url=URL, json={"model": "gpt-4.1-mini"})


def wreq_function():
    async def post():
        await wreq.post(URL, json={"model": "gpt-4.1-mini"})

    asyncio.run(post())


def wreq_client():
    async def post():
        await wreq.Client().request(wreq.Method.POST, URL, json={"model": "gpt-4.1-mini"})

    asyncio.run(post())


def httpr_function():
    httpr.post(URL, json={"model": "gpt-4.1-mini"})


def httpr_stream():
    with httpr.Client().stream("POST", URL, json={"model": "gpt-4.1-mini"}) as answer:
        answer.read()


def pyqwest_client():
    pyqwest.SyncClient().post(URL, {"authorization": "Bearer x"}, b'{"model": "gpt-4.1-mini"}')


def pyqwest_async():
    async def post():
        await pyqwest.Client().post(URL, content=b'{"model": "gpt-4.1-mini"}')

    asyncio.run(post())


def pyqwest_transport():
    request = pyqwest.SyncRequest("POST", URL, content=b'{"model": "gpt-4.1-mini"}')
    pyqwest.SyncHTTPTransport().execute_sync(request)


def httpr_async():
    async def post():
        async with httpr.AsyncClient() as client:
            await client.post(URL, json={"model": "gpt-4.1-mini"})

    asyncio.run(post())


def tls_session():
    tls_client.Session().post(URL, json={"model": "gpt-4.1-mini"})


def tls_session_async():
    async def post():
        await tls_client.AsyncSession().post(URL, json={"model": "gpt-4.1-mini"})

    asyncio.run(post())


BAML = [baml, baml_stream, baml_async, baml_async_stream]
OTHERS = [
    *(primp_function, primp_client, primp_async),
    *(wreq_blocking, wreq_blocking_client, wreq_function, wreq_client),
    *(pyqwest_client, pyqwest_async, pyqwest_transport),
    *(httpr_function, httpr_stream, httpr_async, tls_session, tls_session_async),
]


@pytest.mark.parametrize("way", BAML + OTHERS)
def test_refused(way, aquila_refusals):
    with pytest.raises(LiveCallRefused, match="no cassette can answer its client"):
        way()
    aquila_refusals.forget()


@pytest.mark.aquila_live
@pytest.mark.parametrize("way", BAML + OTHERS)
def test_live(way):
    way()


@pytest.mark.parametrize("way", [baml, baml_async, baml_async_stream])
def test_recorded(way, aquila_server):
    assert way() == "Hello, Ann."


def test_would_wait_for_ever(aquila_server):
    with pytest.raises(ValueError, match="async client"):
        baml_stream()
