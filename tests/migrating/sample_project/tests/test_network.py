"""What reaches the network, in whatever mode the suite runs. The server is given by the environment."""

import httpx
import pytest
import requests


@pytest.mark.vcr(record_mode="new_episodes")
def test_records_by_its_mark(server, vcr):
    first = httpx.get(f"{server}/a?signature=1", headers={"Authorization": "Bearer secret", "x-day": "monday"})
    assert first.json()["path"] == "/a?signature=1"
    assert len(vcr) == 1
    assert vcr.requests[0].path == "/a"
    assert vcr.requests[0].query == []
    assert "authorization" not in vcr.requests[0].headers


@pytest.mark.vcr
def test_asks_in_the_mode_of_the_run(server):
    assert httpx.get(f"{server}/b").json()["path"] == "/b"
    assert requests.get(f"{server}/c", timeout=5).json()["path"] == "/c"


@pytest.mark.vcr
def test_what_a_filter_drops_is_sent(server, vcr):
    assert httpx.get(f"{server}/token").json()["path"] == "/token"
    assert len(vcr) == 0


@pytest.mark.vcr(ignore_hosts=["127.0.0.1"])
def test_what_is_ignored_is_sent(server, vcr):
    assert httpx.get(f"{server}/d").json()["path"] == "/d"
    assert len(vcr) == 0


@pytest.mark.block_network(allowed_hosts=["127.*", "::1"])
def test_an_allowed_host(server):
    assert httpx.get(f"{server}/e").status_code == 200


@pytest.mark.block_network
def test_a_blocked_host():
    httpx.get("http://192.0.2.1/", timeout=2)


@pytest.mark.vcr
@pytest.mark.block_network
def test_a_blocked_host_beside_a_cassette(server):
    assert httpx.get(f"{server}/f").json()["path"] == "/f"
