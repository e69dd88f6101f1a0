"""Filters, matchers and where cassettes are."""

import httpx
import pytest

ITEMS = "https://api.example.com/items"


def get(url=ITEMS, **options):
    return httpx.get(url, **options).json()


def post(url=ITEMS, **options):
    return httpx.post(url, **options).json()


@pytest.mark.vcr
def test_an_attribute_that_the_hook_has_set(vcr):
    assert get(f"{ITEMS}?page=1&signature=of-today") == {"number": 1}
    assert vcr.requests[0].uri == f"{ITEMS}?page=1"


@pytest.mark.vcr(filter_query_parameters=["page", ("day", "any")])
def test_an_option_of_a_mark():
    assert get(f"{ITEMS}?page=7&day=monday") == {"number": 1}
    assert get(f"{ITEMS}?page=8&day=tuesday") == {"number": 2}


@pytest.mark.vcr(match_on=["method", "uri", "body"])
def test_parameters_of_a_body(vcr):
    assert post(json={"user": "me", "password": "of today", "nonce": 77}) == {"number": 1}
    assert post(data={"user": "me", "password": "of today", "nonce": "77"}) == {"number": 2}
    assert b"hidden" in vcr.requests[0].body


@pytest.mark.vcr
def test_a_path_that_a_filter_changes(vcr):
    assert get("https://api.example.com/sessions/of_today/items") == {"number": 1}
    assert vcr.requests[0].path == "/sessions/any/items"


@pytest.mark.vcr(additional_matchers=["model"])
def test_a_matcher_of_the_suite():
    assert post(json={"model": "b", "prompt": "anything"}) == {"number": 2}
    assert post(json={"model": "a", "prompt": "anything"}) == {"number": 1}


@pytest.mark.vcr(additional_matchers=["body"])
def test_bodies_that_are_compared():
    assert post(json={"b": 2, "a": 1}) == {"number": 1}


@pytest.mark.vcr(additional_matchers=["body"])
def test_bodies_that_are_compared_and_differ():
    post(json={"a": 2})


@pytest.mark.vcr(match_on=["method", "path"])
def test_any_host():
    assert get("https://elsewhere.example/items?page=3") == {"number": 1}


@pytest.mark.vcr(match_on=["method", "host", "path"])
def test_any_port():
    assert get("https://api.example.com:8443/items") == {"number": 1}


@pytest.mark.vcr("more.yaml", "missing.yaml")
@pytest.mark.vcr("even-more.yaml")
def test_several_cassettes(vcr):
    assert get() == {"number": 1}
    assert get("https://api.example.com/more") == {"number": 10}
    assert get("https://api.example.com/even-more") == {"number": 20}
    assert len(vcr) == 3
    assert vcr.all_played


@pytest.mark.vcr
@pytest.mark.default_cassette("shared.yaml")
def test_a_named_cassette():
    assert get() == {"number": 1}


@pytest.mark.vcr
@pytest.mark.default_cassette("shared.yaml")
def test_the_same_cassette():
    assert get("https://api.example.com/other") == {"number": 2}


@pytest.mark.vcr(serializer="json")
def test_json():
    assert get() == {"number": 1}


@pytest.mark.vcr(serializer="lines")
def test_a_format_of_the_suite():
    assert get() == {"number": 1}


@pytest.mark.vcr(before_record_response=[lambda response: None if response["status"]["code"] == 500 else response])
def test_an_answer_that_a_filter_drops(vcr):
    assert len(vcr) == 1
    assert get() == {"number": 2}


@pytest.mark.vcr(no_such_option=True, custom_patches=())
def test_an_option_that_nobody_knows():
    assert get() == {"number": 1}


def test_the_hook_was_called(request):
    assert len(request.config.recorders) > 10
    assert {recorder.record_mode.value for recorder in request.config.recorders} == {"none"}
