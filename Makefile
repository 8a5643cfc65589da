# make quickstart   environment, installation, and the quick suite with its leaderboard
# make test         the tests; make test-slow: those of minutes
# make test-nightly the long campaigns: kills, signals, fuzzing; LTBENCH_KILLS, LTBENCH_SIGNALS, LTBENCH_FUZZ set how long
# make mutants      seeded faults, each of which the tests must notice
# make check        lint, format, types
# make leaderboard  the tables and the picture in README.md and docs/, from the committed records
# make schema       docs/*.schema.json, from the types
#
# All of it lives in .venv. PYTHON=... chooses another interpreter than the first that is new enough.

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(strip $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14)

.PHONY: quickstart test test-slow test-nightly mutants check leaderboard schema

quickstart: $(VENV)/.installed
	$(BIN)/ltbench run quick

# one thread a test: the workers are what runs side by side
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -rs

test-slow: $(VENV)/.dev
	$(BIN)/pytest -m slow

test-nightly: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m nightly -s

mutants: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants/run.py

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

leaderboard: $(VENV)/.installed
	$(BIN)/python docs/leaderboard.py

schema: $(VENV)/.installed
	$(BIN)/python docs/schema.py

$(VENV)/.made:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; \
	    $$python -m venv $(VENV) && touch $@; exit; \
	  fi; \
	done; \
	echo "error: no Python 3.11 or newer with the venv module (tried: $(PYTHONS))." >&2; \
	echo "Install one (Debian, Ubuntu: python3-venv too), or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1

# pip reads dependency groups since 25.1
$(VENV)/.installed: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --group dev
	touch $@
