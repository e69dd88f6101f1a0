import threading

import pytest
from app import ask


@pytest.mark.timeout(5)
@pytest.mark.aquila
def test_waits_for_ever():
    ask("timeout one")
    threading.Event().wait()


@pytest.mark.timeout(60)
@pytest.mark.aquila
def test_after_it():
    assert ask("timeout two") == "about timeout two"
