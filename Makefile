# make demo    install into .venv and run the main job on this machine: a model for each of two budgets, side by side
# make benchmark  install what peers there are, and time our compiled models beside them: tables in benchmark/
#                 (POCKETBERT_LITERT_PYTHON names a Python that has litert-torch, for LiteRT)
# make evaluate-predictor  judge the latency predictors on seeded splits against baselines, and on this machine
#                 measured anew: tables in benchmark/
# make table1 DATA=DIR  replay the published table 1 on the GLUE tasks whose folders lie in DIR: benchmark/table1/ (hours;
#                 goes on where it was; TABLE1_OPTIONS='--searched 6x192-h6-f768 ...' for more)
# make test    the same installation, then every check and test
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
# One more than two processors: tests wait for disks, clusters and simulated phones a good part of their time.
TEST_PROCESSES ?= 3
BUDGET ?= 8ms,0.5ms
DATA ?=
TABLE1_OPTIONS ?=

.PHONY: help demo benchmark evaluate-predictor table1 install install-dev system-packages test check format wheel clean distclean

help:
	@sed -n 's/^# make /make /p' Makefile

demo: install
	@scripts/demo.sh $(BIN) --device host --budget $(BUDGET) --effort brief

benchmark: $(VENV)/.installed-compare
	@$(BIN)/python -m tests.benchmarks.peers --out benchmark

evaluate-predictor: $(VENV)/.installed
	@$(BIN)/python -m tests.benchmarks.predictor --sessions benchmark/sessions --out benchmark

table1: $(VENV)/.installed
	@test -n "$(DATA)" || { echo "error: make table1 DATA=DIR, the folder that holds MRPC, STS-B and so on" >&2; exit 2; }
	@$(BIN)/python -m tests.benchmarks.table1 --data "$(DATA)" --out benchmark/table1 $(TABLE1_OPTIONS)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml scripts/install.sh
	@scripts/install.sh $(VENV) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml scripts/install.sh
	@scripts/install.sh $(VENV) '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-compare: pyproject.toml scripts/install.sh
	@scripts/install.sh $(VENV) '.[compare]'
	@touch $(VENV)/.installed $@

system-packages:
	@scripts/system_packages.sh

test: install-dev system-packages check
	@scripts/test.sh $(BIN) $(TEST_PROCESSES)

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: install-dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo demo.previous
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
