"""How fast Aquila is: `python -m benchmarks`, see README.md."""
