# Headrace. `make` lists what there is to make; nothing but Python ≥ 3.10 and make is needed beforehand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of `make site` alone.
SITE := .venv-site
# The marks of what is installed: what `make up` needs; and that with what the developers need.
RUNTIME := $(VENV)/.installed-up
DEVELOPMENT := $(VENV)/.installed

.DEFAULT_GOAL := help

# Python keeps what it has compiled, also where the environment forbids it, as containers often do. Otherwise each process of the
# tests compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(DEVELOPMENT) ## Make the virtual environment and install all pinned dependencies, the developers' too

up: $(RUNTIME) ## Start everything here: Postgres, the MLflow UI, the receiver
	@$(BIN)/headrace up

demo: $(RUNTIME) ## Send realistic traces to a running `make up`
	@$(BIN)/headrace demo

quick: install ## The inner loop: lint, formatting, types and unit tests, side by side; 20 seconds
	@$(MAKE) --no-print-directory -j3 unit-rows unit-rest check

test: install ## Run every test, on a real Postgres and a real MLflow, in JOBS=2 processes
	$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder

slow: install ## Run the slow tier alone, and note in tests/slow.lock what has passed
	$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder --slow=record

unit: install ## The tests without any I/O, up to the first that fails
	$(UNIT) tests/unit

# The same in two halves, which take about as long as each other.
unit-rows: install
	$(UNIT) $(ROWS)

unit-rest: install
	$(UNIT) tests/unit $(ROWS:%=--ignore=%)

ROWS := $(addprefix tests/unit/,mlflow export otlp processor)
# The plugins take seconds to import.
UNIT := PYTHONPATH=tests $(BIN)/python -m pytest -x -q -p no:schemathesis -p no:hypothesispytest -p unit.alone

check: install ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: install ## Format the code, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

structure: install ## The house in figures: rooms, arrows between them, the longest modules and functions
	@PYTHONPATH=tests $(BIN)/python -m structure

oracles: install ## Each release of MLflow, in its own environment: its server's rows beside ours, MINORS=3.14,3.15,3.16,3.17,3.18 (an hour)
	PYTHONPATH=tests $(BIN)/python -m parity.oracles $(if $(MINORS),--minors $(MINORS))

fuzz: install ## Mutated OTLP through the pure core, RUNS=200000 bodies an encoding (an hour)
	PYTHONPATH=tests $(BIN)/python -m fuzz --runs $(or $(RUNS),200000)

fuzz-wire: install ## Odd HTTP/2 and HTTP/1.1 to both ports, MINUTES=60, SEED=1: both servers live on, and answer
	PYTHONPATH=tests $(BIN)/python -m fuzz.wire --minutes $(or $(MINUTES),60) --seed $(or $(SEED),1)

chaos: install ## Faults of all kinds under load, MINUTES=30: nothing that was acknowledged may be lost
	PYTHONPATH=tests $(BIN)/python -m faults.chaos --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

outage: install ## MINUTES=10 without Postgres at half of the saturated rate: memory, and how fast the backlog is written
	PYTHONPATH=tests $(BIN)/python -m faults.chaos --outage --minutes $(or $(MINUTES),10)

fleet: install ## KILLS=100 of receivers, writers and Kafka's brokers while clients send: nothing is lost or doubled (SEED=1)
	KILLS=$(or $(KILLS),100) SEED=$(or $(SEED),1) $(BIN)/python -m pytest tests/world/kafka/test_fleet.py -q -k lost

bench: install ## Compare with MLflow's own /v1/traces, side by side
	$(BIN)/python -m bench

bench-fleet: install ## 1, 2 and 4 receivers and writers with Kafka between them, side by side: spans a second, CPU a span
	PYTHONPATH=tests $(BIN)/python -m bench.kafka

scale: install ## How long reading takes at TRACES=1000000 of 10 spans each, which the writer makes first (half an hour)
	$(BIN)/python -m bench.scale --traces $(or $(TRACES),1000000)

proto: install ## Generate the code of proto/ anew
	$(BIN)/python -m grpc_tools.protoc -Iproto/headrace/v1 --python_out=app/headrace/envelope --pyi_out=app/headrace/envelope envelope.proto
	$(BIN)/python -m grpc_tools.protoc -Iproto/headrace/v1 --python_out=app/headrace/receiver/grpc --pyi_out=app/headrace/receiver/grpc health.proto
	$(BIN)/python proto/generate.py

docs: install ## Write the tables of settings, metrics and events into the documentation
	$(BIN)/python docs/generate.py
	PYTHONPATH=tests $(BIN)/python -m conformance.page
	PYTHONPATH=tests $(BIN)/python -m frameworks_matrix
	PYTHONPATH=tests $(BIN)/python -m parity.page

site: $(SITE)/.installed ## Build the documentation as a site, into dist/site; links and anchors are checked
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict $(SITE_OPTIONS)

release: install ## Build and check a release in dist/release (DRY=1: whatever the tree is; IMAGE=1: the image, too); publishes nothing
	@$(BIN)/python .ci/release.py $(if $(DRY),--dry-run) $(if $(IMAGE),--image)

release-prepare: ## Write the number of the next release, VERSION=0.2.0, and date the changelog
	@$(PYTHON) .ci/release.py --prepare $(or $(VERSION),'')

audit: ## Ask for known vulnerabilities of all dependencies in the lock files
	@$(PYTHON) .ci/audit.py

sbom: ## Write what the core is made of to dist/headrace.cdx.json, in CycloneDX's form
	@$(PYTHON) .ci/sbom.py

lock: install ## Choose the newest versions that pyproject.toml allows, the same in all lock files
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --extra up --group build -c requirements.lock pyproject.toml -o requirements-up.lock
	$(COMPILE) --extra dev --group build -c requirements-up.lock pyproject.toml -o requirements-dev.lock
	echo 'confluent-kafka>=2.10' | $(COMPILE) --no-deps - -o requirements-kafka.lock
	$(COMPILE) --group site -o requirements-site.lock
	printf 'flask-wtf<2\nwtforms>=3\n' | $(COMPILE) --no-deps - -o requirements-auth.lock
	echo 'cyclonedx-bom>=7' | $(COMPILE) - -o .ci/sbom.lock
	echo 'pip-audit>=2.10' | $(COMPILE) - -o .ci/audit.lock

COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

clean: ## Remove what make and the tests made here (never your data)
	rm -rf $(VENV) $(SITE) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build *.egg-info

# A Python that was named must be there, also where all is installed already. The default is asked for by the installation alone.
ifneq (,$(filter command environment,$(origin PYTHON)))
ifeq (,$(shell command -v $(firstword $(PYTHON)) 2>/dev/null))
$(error There is no '$(PYTHON)' here: name a Python 3.10 to 3.14 that is, as in `make PYTHON=python3.12`)
endif
endif

# In an environment of its own, with a lock of its own: nobody else pays for it.
$(SITE)/.installed: requirements-site.lock
	@$(CHECK_PYTHON)
	@$(PYTHON) -m venv $(SITE)
	@echo "Installing MkDocs into $(SITE): 20 MB to download, 170 MB on disk."
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(RUNTIME): requirements-up.lock pyproject.toml
	@$(CHECK_PYTHON)
	@$(PYTHON) .ci/install.py requirements-up.lock
	@touch $@

# It includes the other, so that `make up` finds nothing to do afterwards.
$(DEVELOPMENT): requirements-dev.lock requirements-up.lock pyproject.toml
	@$(CHECK_PYTHON)
	@$(PYTHON) .ci/install.py requirements-dev.lock
	@touch $(RUNTIME) $@

define CHECK_PYTHON
command -v $(firstword $(PYTHON)) >/dev/null 2>&1 || \
	{ echo "There is no '$(PYTHON)' here: name a Python 3.10 to 3.14 that is, as in: make PYTHON=python3.12"; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || \
	{ echo "Headrace needs Python 3.10 to 3.14; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -1). Try: make PYTHON=python3.12"; exit 1; }
endef

.PHONY: help install up demo quick test slow unit unit-rows unit-rest check fmt structure oracles fuzz fuzz-wire chaos outage fleet bench bench-fleet scale proto docs audit lock clean site release release-prepare sbom
