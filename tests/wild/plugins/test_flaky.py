from app import ask
from flaky import flaky

runs = []


@flaky(max_runs=3)
def test_passes_at_the_second_run(aquila_cassette):
    runs.append(ask("flaky"))
    assert len(runs) > 1
