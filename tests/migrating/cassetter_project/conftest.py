"""A suite in the style of cassetter. It knows nothing of Aquila, and uses only the plugin of cassetter."""

import os

import pytest


class SkipRecording(Exception):
    """Raised by a hook for a request that is not to be recorded."""


def change_request(request):
    if "/token" in request.uri:
        raise skip()
    request.uri = request.uri.replace("/sessions/of_today", "/sessions/any")
    return request


def skip():
    try:
        from cassetter import SkipRecording as skip
    except ImportError:
        skip = SkipRecording
    return skip()


@pytest.fixture(scope="module")
def vcr_config():
    return {
        "filter_query_parameters": ["signature"],
        "body_scrub_patterns": ["nonce"],
        "ignore_hosts": ["*.ignored.example"],
        "before_record_request": change_request,
        "max_age": "30000d",
        "intercept": ["httpx"],
    }


@pytest.fixture
def server():
    return os.environ["SAMPLE_SERVER"]
