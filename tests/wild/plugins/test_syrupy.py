from app import ask


def test_answer(snapshot, aquila_cassette):
    assert ask("syrupy") == snapshot
