import pytest
from app import ask


@pytest.fixture(scope="module")
def of_module():
    return ask("timeout module")


@pytest.mark.timeout(60, method="thread")
@pytest.mark.aquila
def test_in_time(of_module):
    assert ask("timeout thread") == "about timeout thread"
