import pytest
from app import ask

runs = []


@pytest.mark.aquila
def test_passes_at_the_second_run():
    runs.append(ask("html <b>rerun</b>"))
    assert len(runs) > 1
