# The commands of a developer; .ci/run and .github/workflows/ci.yml run the same.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
export MLOPS_HOME := $(CURDIR)
# If it is set, as in many images, each process of the loop compiles the modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: backup bench bench-load bench-serving chaos check clean clean-stack docs down install lock logs promote prove replay-stack report repro restore rotate-key run run-stack sizing smoke test test-long test-month test-stack test-stack-short up up-staging

run: install            ## runs one full turn of the loop
	$(BIN)/mlops run

install: $(VENV)/installed

# The lock contains uv with its hashes: pip installs uv alone, and uv installs the rest.
$(VENV)/installed: $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

check: install          ## checks style, types, imports, the lock and the words of use cases
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/lock.py
	$(BIN)/python tests/words.py
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --offline --strict-collection --quiet --no-progress .github/workflows

# Measuring coverage makes every child process 50% slower: CI always does it, a developer on request.
COVERAGE ?=

test: install           ## runs unit and integration tests and one turn on a slice of real days; COVERAGE=1 requires 90%
	rm -f .coverage .coverage.*
	$(if $(COVERAGE),$(BIN)/coverage run -m,$(BIN)/python -m) pytest --ignore=tests/stack -m "not long" -n 2 --dist loadfile --no-loadscope-reorder
	$(if $(COVERAGE),$(BIN)/coverage combine --quiet && $(BIN)/coverage report)

# Test files or folders; all if empty.
PART ?=

test-long: install      ## tests kills at every stage, schedules, and the recipe on a fresh clone; PART= selects tests
	$(BIN)/pytest --ignore=tests/stack -m long -n 2 --dist loadfile --no-loadscope-reorder $(PART)

# main, another commit, the folder of an earlier report, or nothing: `make report BASE=`
BASE ?= main

report: install         ## reports what this checkout does to the model, on a slice, beside BASE
	$(BIN)/python -m pipelines.delivery --out var/report --base "$(BASE)"

prove: install          ## sends bad candidates, bad challengers and bad data through their guards; each must be stopped
	OMP_NUM_THREADS=1 $(BIN)/mlops prove
	OMP_NUM_THREADS=1 $(BIN)/mlops prove --monitoring

repro: install          ## runs the recipe alone, by DVC: raw batches to evaluation
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro

lock: install           ## renews requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --quiet --upgrade --custom-compile-command "make lock" --output-file $(LOCK)
	$(BIN)/python tests/lock.py --write

docs: install           ## writes docs/cli.md from the help texts of the commands and targets
	$(BIN)/python -m pipelines.cli.reference

BENCHES := tests/usecases/flights/bench/source_figures.py tests/usecases/flights/bench/fortnights.py tests/usecases/flights/bench/healthy.py \
	tests/usecases/flights/bench/challengers.py tests/usecases/flights/bench/retraining.py tests/usecases/flights/bench/estimated.py tests/usecases/flights/bench/headroom.py \
	tests/bench/one_row.py tests/bench/point_in_time.py tests/bench/imports.py \
	tests/bench/audit_trail.py tests/bench/turn.py

bench: export PYTHONPATH := tests/bench:tests/usecases/flights/bench
bench: export OMP_NUM_THREADS := 1
bench: install          ## measures the figures of documents and comments, to docs/benchmarks/loop.md
	mkdir -p docs/benchmarks
	$(BIN)/python tests/usecases/flights/bench/year.py
	$(BIN)/python tests/bench/measure.py > docs/benchmarks/.loop.md
	set -e; for script in $(BENCHES); do echo "$$script"; $(BIN)/python $$script >> docs/benchmarks/.loop.md; done
	mv docs/benchmarks/.loop.md docs/benchmarks/loop.md

clean:                  ## removes run state and data without asking; keeps .venv
	rm -rf var .dvc/cache .dvc/tmp data/*/*

# Variables that another project may have exported: in Compose they win over .env. They would start
# the stack with other passwords than its volumes have, or remove another project's containers.
unexport COMPOSE_ENV_FILES COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME
unexport POSTGRES_PASSWORD MLFLOW_DB_PASSWORD PREFECT_DB_PASSWORD FEAST_DB_PASSWORD REDIS_PASSWORD
unexport GRAFANA_PASSWORD MLOPS_PREDICT_TOKEN MLOPS_FEEDBACK_TOKEN MLOPS_ADMIN_TOKEN

# Labels of the image. The stack below needs Docker with Compose v2, and only the system's Python.
export MLOPS_VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
export MLOPS_COMMIT ?= $(shell git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)

up:                     ## builds the image, starts the stack, waits until every part is healthy
	$(PYTHON) pipelines/stack/env.py .
	docker compose build api
	@$(PYTHON) -m pipelines.stack.keys
	docker compose up --detach --wait
	@$(PYTHON) pipelines/stack/addresses.py

up-staging:             ## the same with a staging service, which every release must then pass
	$(PYTHON) pipelines/stack/env.py . COMPOSE_PROFILES=staging MLOPS_STAGING_URL=http://api-staging:3000
	$(MAKE) up

smoke:                  ## tests the stack's staging with real cases
	docker compose run --rm loop mlops smoke

promote:                ## releases VERSION, or the version in staging, to the stack's production
	docker compose run --rm loop mlops promote $(VERSION)

down:                   ## stops the stack; all data stay in their volumes
	docker compose --profile "*" down --remove-orphans

clean-stack:            ## stops the stack and removes its data; asks first, unless FORCE=1
	@test -n "$(FORCE)" || { printf 'Remove every volume of the stack, with all runs, models and predictions? [y/N] '; read sure; test "$$sure" = y; }
	docker compose --profile "*" down --remove-orphans --volumes

backup:                 ## copies the data of the running stack to TO, or to backups/<UTC time>
	@$(PYTHON) -m pipelines.stack.backup $(if $(TO),"$(TO)")

restore:                ## restores the stack's data from FROM; asks before it replaces them, unless FORCE=1
	@test -n "$(FROM)" || { echo "Which backup? make restore FROM=backups/<UTC time>"; exit 2; }
	$(PYTHON) pipelines/stack/env.py .
	docker compose build api
	@$(PYTHON) -m pipelines.stack.restore $(if $(FORCE),--force) "$(FROM)"
	@$(PYTHON) pipelines/stack/addresses.py

rotate-key:             ## signs the stack's releases with a new key from now on; REASON= says why
	@$(PYTHON) -m pipelines.stack.keys --rotate "$(REASON)"

replay-stack:           ## replays the days from FROM= to TO= on the running stack, with its own parts
	@test -n "$(FROM)" -a -n "$(TO)" || { echo "Which days? make replay-stack FROM=<day> TO=<day>"; exit 2; }
	docker compose run --rm loop mlops replay --from "$(FROM)" --to "$(TO)"

run-stack:              ## runs one full turn of the loop in the running stack
	docker compose run --rm loop

chaos: install          ## breaks the running stack on purpose, part by part, and reports the effects
	$(BIN)/python -m tests.stack.chaos $(CHAOS)

bench-serving: install  ## measures the service beside alternatives and v0.1 (PARTS=v0.1 alone), to docs/benchmarks/serving.md; needs wrk
	$(BIN)/python -W ignore tests/bench/serving/run.py $(PARTS)

bench-load: export OMP_NUM_THREADS := 1
bench-load: install     ## measures swaps, kills and crowds under load, to docs/benchmarks/load.md; needs hey
	$(BIN)/python -W ignore tests/bench/serving/load.py

sizing: install         ## prints what a prediction costs the running stack, and the sizes of its parts
	$(BIN)/python -m tests.stack.sizing

logs:                   ## follows the logs of the services
	docker compose logs --follow --tail 50

test-stack: install     ## tests the stack on a real engine: image, configuration, start, turn, failures
	$(BIN)/pytest tests/stack -m "not long"

test-month: install     ## runs a month of a slice on a stack of its own: trainings, a release, alerts, dashboards
	$(BIN)/pytest tests/stack/test_month.py

test-stack-short: install  ## tests one stack alone, without alerts end to end, backup, upgrade and Grafana
	$(BIN)/pytest $(addprefix tests/stack/test_,compose.py image.py prometheus_rules.py up.py turn.py pages.py)
