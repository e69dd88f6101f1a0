import pytest


@pytest.fixture(autouse=True)
def cassette(aquila_cassette):
    """Each doctest has a cassette."""
