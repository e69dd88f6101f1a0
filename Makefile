# Each command makes the virtual environment it needs by itself. PYTHON=/path/to/python chooses the interpreter.

PYTHON ?=
ARGS ?=
# Tests wait a part of their time, so they run in one process more than there are cores, at most four. WORKERS=0: in one.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
export PYTHON

bin := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo jobs-demo check types types-here types-win32 types-darwin lint test test-all test-wild fuzz docs release-check bench clean environment

help:
	@echo 'make demo    see it all: record from a real model, replay, a Huey worker, a cut stream, a prompt that drifts'
	@echo 'make jobs-demo   a worker, the page of jobs and a few jobs on the local model, to watch in a browser'
	@echo 'make test    ruff, mypy, the tests that are not slow (ARGS="-k name" goes to pytest)'
	@echo 'make test-all   the same, with the slow tests and the types on Windows and macOS (longer still: .ci/nightly)'
	@echo 'make test-wild   client libraries and plugins as people have them, in environments of their own'
	@echo 'make fuzz    what strangers may write: random messages, journals, cassettes, secrets (FUZZ_SECONDS=60)'
	@echo 'make docs    the documentation as a site, in build/site/index.html'
	@echo 'make release-check   build, check and install what would be released'
	@echo 'make bench   how fast it is, beside its peers     (ARGS goes to the benchmarks)'
	@echo 'make clean   remove environments, caches and build results'
	@echo
	@echo 'Needed: Python 3.11 or newer. PYTHON=/path/to/python chooses one.'

environment:
	@sh scripts/environment.sh .venv dev

demo: environment
	@$(bin)/python examples/summaries/demo.py

# JOBS_PORT=8000 chooses the port of the page.
jobs-demo: environment
	@$(bin)/python examples/watching/demo.py

# mypy uses one processor, so two run at a time.
check: lint
	@$(MAKE) --no-print-directory -j 2 types

types: types-here types-win32 types-darwin

types-here:
	$(bin)/mypy

# For systems on which no test runs. Each has a cache of its own, or they would overwrite each other's.
types-win32 types-darwin: types-%:
	$(bin)/mypy -p aquila -p pytest_aquila --platform $* --cache-dir .mypy_cache/$*

lint: environment
	$(bin)/ruff check .
	$(bin)/ruff format --check .

pytest := $(bin)/pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal --durations 15

test: lint
	sh scripts/beside-types.sh types-here $(pytest) -m "not slow" $(ARGS)

test-all: lint
	sh scripts/beside-types.sh types $(pytest) -m "not nightly" $(ARGS)

# Libraries and plugins as people have them: the newest of each, and what the versions of others force apart. Each is a
# dependency group of pyproject.toml, and an environment. GROUPS=wild-openai2 chooses. The plugins are tried on the newest
# Python of this machine; the older ones, and the clients, on the one that is asked for.
GROUPS ?= wild wild-openai2 wild-plugins wild-oldest wild-frameworks

test-wild:
	@rm -rf build/wild && mkdir -p build/wild
	@for group in $(GROUPS); do \
	    python=$$PYTHON; [ $$group != wild-plugins ] || python=$$(sh scripts/find-python.sh newest) || exit 1; \
	    PYTHON=$$python sh scripts/environment.sh .venv-$$group $$group without-model || exit 1; \
	    echo "== $$group"; \
	    WILD_GROUP=$$group PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
	        .venv-$$group/bin/pytest tests/wild -p xdist -n $(WORKERS) --maxprocesses 4 --dist worksteal \
	        -o faulthandler_timeout=600 --durations 15 --junitxml=build/wild/$$group.xml $(ARGS) || failed=yes; \
	done; [ -z "$$failed" ]

# Random inputs until the time is over; a failure is made small, and its seed is named. An hour: make fuzz FUZZ_SECONDS=3600
FUZZ_SECONDS ?= 60

fuzz: environment
	$(bin)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

# Offline and strict: it fails for a link that leads nowhere, and for a name that does not exist.
docs:
	@sh scripts/environment.sh .venv-docs docs without-model
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict -f scripts/site/mkdocs.yml
	@echo "The site is in build/site. With search: $(bin)/python -m http.server -b 127.0.0.1 -d build/site"

# Builds, checks and installs what would be released. Ends with 3 while only decisions are open.
release-check:
	@sh scripts/environment.sh .venv-release release without-model
	@.venv-release/bin/python scripts/release_check.py

bench:
	@sh scripts/environment.sh .venv-bench bench
	@.venv-bench/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-* .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
