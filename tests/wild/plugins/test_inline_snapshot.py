from app import ask
from inline_snapshot import snapshot


def test_answer(aquila_cassette):
    assert ask("inline") == snapshot()
