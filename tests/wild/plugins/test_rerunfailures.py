import pytest
from app import ask

runs = []


@pytest.fixture(scope="module")
def of_module():
    return ask("rerun module")


@pytest.mark.aquila
def test_passes_at_the_second_run(of_module):
    runs.append(ask("rerun"))
    assert len(runs) > 1
