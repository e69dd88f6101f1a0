# Each command makes the virtual environment it needs by itself. PYTHON=/path/to/python chooses the interpreter.

PYTHON ?=
ARGS ?=
export PYTHON

bin := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-clients bench clean environment

help:
	@echo 'make demo    see it all: record from a real model, replay, a Huey worker, a prompt that drifts'
	@echo 'make test    ruff, mypy, the test suite          (ARGS="-k name" goes to pytest)'
	@echo 'make test-clients   client libraries as people use them, in an environment of their own'
	@echo 'make bench   how fast it is, beside its peers     (ARGS goes to the benchmarks)'
	@echo 'make clean   remove environments, caches and build results'
	@echo
	@echo 'Needed: Python 3.11 or newer. PYTHON=/path/to/python chooses one.'

environment:
	@sh scripts/environment.sh .venv dev

demo: environment
	@$(bin)/python examples/summaries/demo.py

test: environment
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/pytest $(ARGS)

# Of what these libraries leave behind (unclosed event loops) nothing is ours.
test-clients:
	@sh scripts/environment.sh .venv-clients clients
	@.venv-clients/bin/pip list --format=freeze | grep -E '^(openai|anthropic|pydantic-ai|langchain-openai)'
	.venv-clients/bin/pytest tests/clients -W ignore::pytest.PytestUnraisableExceptionWarning -W ignore::ResourceWarning $(ARGS)

bench:
	@sh scripts/environment.sh .venv-bench bench
	@.venv-bench/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-* .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
