# Everything runs in .venv, which this Makefile makes. It needs a Python from 3.11 to 3.13 and nothing else.
PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,$(shell \
	$(python) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $(python))))
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench bench-classifier torture accuracy doctor-figures docs docs-check pins clean

help:  ## what each target does
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

setup: .venv/ready  ## make .venv with everything at the pinned versions

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "lastlayer needs Python 3.11, 3.12 or 3.13; found none. Name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@"$(PYTHON)" -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up .venv (PyTorch is large; this takes a minute or a few)"
	@if $(BIN)/python -m pip install --quiet --constraint constraints.txt uv; then \
		$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[all]' --group dev; \
	else \
		$(BIN)/python -m pip install --quiet --upgrade pip && \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev; \
	fi
	@touch .venv/ready

demo: setup  ## train, evaluate and explain a classifier of handwritten digits
	@rm -rf runs/demo
	$(BIN)/lastlayer train digits --output runs/demo
	$(BIN)/lastlayer evaluate runs/demo
	$(BIN)/lastlayer explain runs/demo

check: setup  ## format, lint, types, and the doctests of every public function
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --doctest-modules src -q

test: setup  ## the tests, the public functions under the run-time type checker, and planted bugs
	$(BIN)/pytest -n 2 -m "not mutants"
	$(BIN)/pytest -n 2 -m "not unchecked" --type-check tests/functional tests/nn tests/explanation
	$(BIN)/pytest -n 2 -m mutants tests/mutants

bench: setup  ## the numbers that the documentation states, measured on this machine
	$(BIN)/python -m benchmarks

bench-classifier: setup  ## texts, tables, calibration, prediction and training beside what one would take instead
	$(BIN)/python -m benchmarks.classifier

torture: setup  ## kill a training 50 times and damage 2,000 run folders: nothing may go wrong silently
	$(BIN)/python -m benchmarks.torture --kills 50 --mutations 2000

accuracy: setup  ## the distance of every function from the exact result, and the two pages that hold it
	$(BIN)/python -m benchmarks.accuracy

doctor-figures: setup  ## what the doctor finds and costs, and the pages of its rules, into docs
	$(BIN)/python -m benchmarks.doctor

docs: setup  ## the documentation, as HTML under build/docs
	$(BIN)/sphinx-build --fail-on-warning --quiet docs build/docs
	@echo "build/docs/index.html"

docs-check: docs  ## compile the LaTeX, validate the HTML, open every page in headless Chromium
	$(BIN)/python docs/check.py

pins: setup  ## write the installed versions to constraints.txt
	@{ echo "# The versions that this project is tested with: name==version lines, made by 'make pins'."; \
		$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -E '^[A-Za-z0-9_.-]+==' | grep -v '^pip=='; } > constraints.new
	@mv constraints.new constraints.txt && touch .venv/ready

clean:  ## remove what the targets above made
	rm -rf .venv runs build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
