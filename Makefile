# Everything a newcomer needs: `make reproduce` and `make check`. PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce check format lint types test test-slow test-oracle test-gpu test-machines test-faults test-cluster fuzz bench clean

reproduce: $(READY)
	$(BIN)/ranker reproduce --force

check: lint types test

$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,offline,irds,dev]'
	touch $@

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

test: $(READY)
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -m 'not slow and not oracle and not gpu and not faults and not cluster and not machines'

test-slow: $(READY)
	$(BIN)/pytest -m slow

test-oracle: $(READY)
	$(BIN)/pytest -m oracle

test-gpu: $(READY)
	$(BIN)/pytest -m gpu

test-machines: $(READY)
	$(BIN)/pytest -m machines

test-faults: $(READY)
	$(BIN)/pytest -m faults

test-cluster: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/pytest -m cluster

fuzz: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	PYTHONPATH=tests/hostile $(BIN)/python tests/hostile/fuzz.py -max_total_time=300 -timeout=10 -rss_limit_mb=2048 -max_len=4096

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/runs.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz
