# `make help` lists the targets. Every target first sets up .venv if it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STUDY ?= results/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-all lint types docs bench report study clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

setup: $(READY) ## build .venv from requirements.lock and pyproject.toml

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# First everything in the lock, each file checked against its hash. Then this package and torch, whose
# builds differ between platforms, with the CUDA libraries that some of them need.
$(READY): pyproject.toml setup.py constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps --requirement requirements.lock
	$(PIP) --no-build-isolation --constraint constraints.txt --editable '.[harness,wandb,docs,dev]'
	@touch $(READY)

demo: $(READY) ## compare six heads on the built-in corpus and write a report (about 6 minutes, two cores)
	$(BIN)/python train.py experiment=demo
	$(BIN)/python train.py experiment=demo_tau
	$(BIN)/python scripts/evaluate.py results/demo --samples 50
	$(BIN)/python scripts/report.py results/demo

# At most 8 processes: each holds about 1 GB. Workers keep the tests of a file together, which share
# trained runs, and take tests from each other when they have none left.
# Compiled files, even if the environment forbids them: each worker starts several seconds earlier.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

test: $(READY) ## run the tests, without the slow crossings (some 20 minutes on two cores)
	$(PYTEST) -m "not slow"

test-slow: $(READY) ## run the slow crossings alone
	$(PYTEST) -m slow

test-all: $(READY) ## run every test
	$(PYTEST)

lint: $(READY) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## check types
	$(BIN)/mypy

docs: $(READY) ## write the generated pages and build the site in build/site, warnings are errors
	$(BIN)/python -m uncollapse.metrics.catalogue
	$(BIN)/python scripts/dev/remedies.py
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs . build/site

bench: $(READY) ## measure speed, as ratios within one run
	$(BIN)/python scripts/bench all

report: $(READY) ## write the report of STUDY=results/<study>, from its runs or from its pack alone
	$(BIN)/python scripts/report.py $(STUDY)

study: $(READY) ## add the finished runs of STUDY=results/<study> to its pack and check the pack
	$(BIN)/python scripts/study.py pack $(STUDY)
	$(BIN)/python scripts/study.py verify $(STUDY)

clean: ## remove caches (never results)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
