# What a developer runs; .ci/run and .github/workflows/ci.yml run the same.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
export MLOPS_HOME := $(CURDIR)

.PHONY: run test check install repro lock clean

run: install            ## one full turn of the loop
	$(BIN)/mlops run

install: $(VENV)/installed

# uv is itself in the lock, with its hashes: pip installs that one entry, uv the rest.
$(VENV)/installed: $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info[:2] == (3, 11), "Python 3.11 is needed: make PYTHON=python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

check: install          ## style, types, imports, lock, words of the use case
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/lock.py
	$(BIN)/python tests/words.py

test: install           ## unit, integration and one turn on a slice of real days
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

repro: install          ## the recipe alone, by DVC: raw batches to evaluation
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro

lock: install           ## renews requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --quiet --upgrade --custom-compile-command "make lock" --output-file $(LOCK)
	$(BIN)/python tests/lock.py --write

clean:                  ## removes run state and data; asks nothing, keeps .venv
	rm -rf var .dvc/cache .dvc/tmp data/raw data/validated data/quarantine data/features data/training data/candidates data/evaluation
