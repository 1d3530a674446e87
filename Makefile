# Two commands on a fresh machine: `make demo` and `make test`. Python >= 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml constraints.txt setup.py $(wildcard src/paceline/*/native/csrc/*)
MODEL ?=

.PHONY: help setup demo serve test check format bench clean

help:
	@echo "make setup   .venv with everything, by pip (again only when something changed)"
	@echo "make demo    serve the packaged model, ask it real prompts, print what came back"
	@echo "make serve   serve MODEL=folder, or the packaged model, until Ctrl-C"
	@echo "make test    what CI runs: make check"
	@echo "make check   format, lint, types, floors, size table, doctests, tests"
	@echo "make bench   the engine's benchmark, quick form"

setup: $(STAMP)

$(STAMP): $(SOURCES)
	@bash scripts/system-packages.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,check]"
	@touch $@

demo: setup
	$(BIN)/paceline demo

serve: setup
	$(BIN)/paceline serve $(if $(MODEL),$(MODEL),--demo)

test: check

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/size_table.py
	$(BIN)/pytest --doctest-modules

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python benchmarks/engine/run.py --quick

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src -name '*.so' -delete
