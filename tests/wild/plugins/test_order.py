import pytest
from app import ask

pytestmark = pytest.mark.aquila
seen = []


@pytest.mark.order(2)
def test_second():
    assert ask("order second")
    seen.append(2)


@pytest.mark.order(1)
def test_first():
    assert ask("order first")
    assert not seen
