"""Mocks below HTTP clients keep their requests in a test with a cassette, and are not recorded."""

import asyncio

import boto3
import httpx
import moto
import pytest
import requests
import responses
import respx
import vcr
from app import URL, ask

pytestmark = pytest.mark.aquila
ANSWER = {"answer": "of the mock"}


def test_respx():
    with respx.mock:
        respx.post(URL).mock(return_value=httpx.Response(200, json=ANSWER))
        assert httpx.post(URL, json={}).json() == ANSWER
    assert ask("mocks respx")


def test_respx_of_an_asynchronous_client(respx_mock):
    async def post():
        async with httpx.AsyncClient() as client:
            return (await client.post(URL, json={})).json()

    respx_mock.post(URL).mock(return_value=httpx.Response(200, json=ANSWER))
    assert asyncio.run(post()) == ANSWER
    assert ask("mocks respx fixture")


def test_pytest_httpx(httpx_mock):
    httpx_mock.add_response(json=ANSWER)
    assert httpx.post(URL, json={}).json() == ANSWER
    assert ask("mocks pytest-httpx")


@responses.activate
def test_responses():
    responses.post(URL, json=ANSWER)
    assert requests.post(URL, json={}, timeout=20).json() == ANSWER
    assert ask("mocks responses")


def test_requests_mock(requests_mock):
    requests_mock.post(URL, json=ANSWER)
    assert requests.post(URL, json={}, timeout=20).json() == ANSWER
    assert ask("mocks requests-mock")


def test_pytest_httpserver(httpserver):
    httpserver.expect_request("/things").respond_with_json(ANSWER)
    assert requests.post(httpserver.url_for("/things"), json={}, timeout=20).json() == ANSWER
    assert httpx.post(httpserver.url_for("/things"), json={}).json() == ANSWER
    assert ask("mocks pytest-httpserver")


def test_pytest_localserver():
    from pytest_localserver.http import ContentServer

    server = ContentServer()
    server.start()
    try:
        server.serve_content('{"answer": "of the mock"}')
        assert requests.post(server.url, json={}, timeout=20).json() == ANSWER
    finally:
        server.stop()
    assert ask("mocks pytest-localserver")


def test_moto():
    with moto.mock_aws():
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
        storage = boto3.client("s3", region_name="us-east-1", **keys)
        storage.create_bucket(Bucket="bucket")
        storage.put_object(Bucket="bucket", Key="key", Body=b"value")
        assert storage.get_object(Bucket="bucket", Key="key")["Body"].read() == b"value"
    assert ask("mocks moto")


@pytest.mark.parametrize("post", [requests.post, httpx.post], ids=["requests", "httpx"])
def test_a_cassette_of_vcrpy(post, tmp_path):
    tmp_path.joinpath("theirs.yaml").write_text(
        "version: 1\ninteractions:\n"
        f"- request: {{method: POST, uri: '{URL}', body: '{{}}', headers: {{}}}}\n"
        '  response: {status: {code: 200, message: OK}, headers: {}, body: {string: \'{"answer": "of the mock"}\'}}\n'
    )
    with vcr.use_cassette(str(tmp_path / "theirs.yaml"), record_mode="none"):
        assert post(URL, json={}, timeout=20).json() == ANSWER
    assert ask("mocks vcrpy")
