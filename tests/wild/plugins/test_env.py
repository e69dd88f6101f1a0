import os

from app import ask


def test_environment(aquila_cassette):
    assert os.environ["WILD_ENV"] == "1"
    assert ask("env") == "about env"
