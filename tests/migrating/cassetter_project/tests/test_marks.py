import httpx
import pytest

ITEMS = "https://api.example.com/items"


def get(url=ITEMS, **options):
    return httpx.get(url, **options).json()["number"]


def post(body, url=ITEMS):
    return httpx.post(url, json=body).json()["number"]


@pytest.mark.vcr
def test_plain(cassette):
    assert len(cassette.interactions) == 2
    assert get() == 1
    assert (cassette.play_count, cassette.all_played, cassette.played_indices) == (1, False, [True, False])
    first, second = cassette.interactions
    assert (first.request.method, first.request.uri) == ("GET", ITEMS)
    assert (first.response.status, first.response.body.content) == (200, {"number": 1})
    assert (second.request.body.body_type, second.request.body.content) == ("json", {"a": 1})
    assert second.request.headers["content-type"] == ["application/json"]
    assert post({"a": 2}) == 2
    assert cassette.all_played
    assert cassette.requests[1].path == "/items"
    assert cassette.path.endswith("test_plain.yaml")


@pytest.mark.vcr
class TestOfAClass:
    def test_one(self, vcr):
        assert get() == 1
        assert vcr.play_counts == {0: 1}

    def test_replays_again(self):
        assert [get() for _ in range(3)] == [1, 1, 1]


@pytest.mark.vcr("by-its-name.yaml")
def test_named():
    assert get() == 1


@pytest.mark.vcr
@pytest.mark.default_cassette("by-its-name.yaml")
def test_named_as_pytest_recording_does():
    assert get() == 1


@pytest.mark.vcr("in-toml.toml")
def test_toml():
    assert get() == 1


@pytest.mark.vcr(match_on=["method", "uri", "json_body"])
def test_bodies_that_are_compared():
    assert post({"b": 2, "a": 1, "nonce": 99}) == 1


@pytest.mark.vcr(additional_matchers=["json_body"])
def test_bodies_that_are_compared_and_differ():
    post({"a": 2})


@pytest.mark.vcr
def test_what_is_filtered():
    assert get(f"{ITEMS}?token=of-today&page=1&signature=of-today") == 1


@pytest.mark.vcr
def test_a_hook():
    assert get("https://api.example.com/sessions/of_today/items") == 1


@pytest.mark.vcr
def test_a_miss():
    get("https://api.example.com/other")


@pytest.mark.vcr
def test_without_a_cassette():
    get()


@pytest.mark.vcr(no_such_option=1)
def test_an_option_that_nobody_knows():
    get()


@pytest.mark.vcr
@pytest.mark.parametrize("model", ["a/b", "c:d"])
def test_each(model):
    assert get() == 1


def test_without_a_mark(cassette):
    assert cassette is None


@pytest.mark.vcr(cassette_dir="library")
def test_a_folder_of_its_own(cassette):
    assert get() == 1
    assert "library" in cassette.path
