import httpx
import pytest


@pytest.mark.vcr
def test_asks_in_the_mode_of_the_run(server):
    assert httpx.get(f"{server}/b?signature=1").json()["path"].startswith("/b")


@pytest.mark.vcr(record_mode="once")
def test_records_by_its_mark(server, cassette):
    httpx.get(f"{server}/a")
    assert len(cassette.interactions) == 1


@pytest.mark.vcr
def test_what_a_hook_drops_is_sent(server, cassette):
    assert httpx.get(f"{server}/token").json()["path"] == "/token"
    assert len(cassette) == 0


@pytest.mark.vcr(ignore_hosts=["127.*"])
def test_what_is_ignored_is_sent(server, cassette):
    assert httpx.get(f"{server}/c").json()["path"] == "/c"
    assert len(cassette) == 0
