"""A suite in the style of pytest-recording, with all features that suites use. It knows nothing of Aquila."""

import json
import os
import re

import pytest


class CompactYaml:
    """A serializer of the suite. Its cassettes are YAML too."""

    @staticmethod
    def serialize(cassette):
        from vcr.serializers import yamlserializer

        return yamlserializer.serialize(cassette)

    @staticmethod
    def deserialize(text):
        from vcr.serializers import yamlserializer

        return yamlserializer.deserialize(text)


def pytest_recording_configure(config, vcr):
    vcr.register_serializer("yaml", CompactYaml)
    vcr.register_serializer("lines", LinesSerializer)
    vcr.register_matcher("method", same_method)
    vcr.register_matcher("model", same_model)
    vcr.filter_query_parameters = ["signature"]
    config.recorders = [*getattr(config, "recorders", []), vcr]


class LinesSerializer:
    """A format that only this suite knows."""

    @staticmethod
    def serialize(cassette):
        return "lines\n" + json.dumps(cassette, indent=1)

    @staticmethod
    def deserialize(text):
        return json.loads(text.removeprefix("lines\n"))


def same_method(one, other):
    """The same matcher as vcrpy's, but of the suite."""
    if one.method != other.method:
        raise AssertionError(f"{one.method} is not {other.method}")


def same_model(one, other):
    return json.loads(one.body or b"{}").get("model") == json.loads(other.body or b"{}").get("model")


def take_session_away(request):
    if request.path == "/token":
        return None
    request.uri = re.sub(r"/sessions/\w+", "/sessions/any", request.uri)
    return request


def shorten(response):
    response["headers"].pop("x-request-id", None)
    return response


@pytest.fixture(scope="module")
def vcr_config():
    return {
        "filter_headers": [
            "authorization",
            ("x-api-key", None),
            ("x-team", "team"),
            ("x-day", lambda key, value, request: "day"),
        ],
        "filter_post_data_parameters": [("password", "hidden"), "nonce"],
        "before_record_request": take_session_away,
        "before_record_response": shorten,
        "decode_compressed_response": True,
        "ignore_localhost": os.environ.get("SAMPLE_IGNORES_LOCALHOST") == "yes",
    }


@pytest.fixture
def server():
    """The URL of a loopback server that answers each request with its number."""
    return os.environ["SAMPLE_SERVER"]


@pytest.fixture
def ask():
    import httpx

    def ask(prompt, model="gpt", path="/v1/chat/completions", **more):
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **more}
        answer = httpx.post(f"https://api.openai.com{path}", json=body, headers={"Authorization": "Bearer key"})
        return answer.json()["choices"][0]["message"]["content"]

    return ask
