from app import ask


def test_cost(benchmark, aquila_cassette):
    assert benchmark.pedantic(ask, args=("benchmark",), rounds=3, iterations=1) == "about benchmark"
