# Every target makes the virtual environment it needs. Another interpreter: make demo PYTHON=/path/to/python3.13

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# Warnings of pip's about its own configuration say nothing about sed_lab; errors are still printed.
# The environment variable, unlike -c, also holds for the isolated builds of packages without a wheel.
INSTALL = PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env demo test test-all test-cluster lint format bench wheel lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*## "} {printf "make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt sed_lab/model/gated_norm.c sed_lab/model/winograd.c | $(BIN)/python
	@echo "installing sed_lab and what it runs on into $(VENV) (5 GB, mostly PyTorch with CUDA; some minutes, once)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt sed_lab/model/gated_norm.c sed_lab/model/winograd.c | $(BIN)/python
	@echo "installing sed_lab, what it runs on and the development tools into $(VENV) (6 GB, some minutes, once)"
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.runtime $@

env: $(VENV)/.dev ## make the environment with the development tools
	@echo "source $(BIN)/activate"

# BANK names a folder of recordings, one sub-folder a class (or an ESC-50 layout); the inner quotes are Hydra's, so that
# a path may hold spaces.
DEMO = $(if $(BANK),dataset=soundbank "dataset.bank_folder='$$(realpath -m -- "$(BANK)")'")

demo: $(VENV)/.runtime ## train, evaluate and illustrate a detector on embedded data; BANK=folder: on your own sounds
	$(BIN)/sed-train $(DEMO)

# make park2022-fig3 SCALE=mini: one table or figure of a paper, its missing runs first. ARGS=--dry-run: only list them;
# ARGS=launcher=basic: one run after another.
SCALE ?= mini
EXPERIMENTS := $(subst /,-,$(basename $(patsubst experiments/%,%,$(filter-out %/scale.yaml,$(wildcard experiments/*/*.yaml)))))
.PHONY: $(EXPERIMENTS) tables list report tables-check
$(EXPERIMENTS): $(VENV)/.runtime
	$(BIN)/sed-reproduce $(subst -,/,$@) --scale $(SCALE) $(ARGS)

tables: $(VENV)/.runtime ## every paper's tables and figures, missing runs first; SCALE=smoke, mini, medium or full
	$(BIN)/sed-reproduce --scale $(SCALE) $(ARGS)

list: $(VENV)/.runtime ## a line a table: scale, runs complete, claims decided, time left; ARGS=--all: every scale
	@$(BIN)/sed-reproduce list $(ARGS)

report: $(VENV)/.runtime ## one static folder: every table's status and claims, a page a paper and a run
	$(BIN)/sed-reproduce site

tables-check: $(VENV)/.runtime ## rebuild README's and results/README's tables from the records, fail when they differ
	$(BIN)/sed-reproduce check

# COV=1: measure which lines of sed_lab the tests run, and fail below the bound.
COV_MIN = 85
COVERAGE = $(if $(COV),--cov --cov-report=term --cov-fail-under=$(COV_MIN))

test: $(VENV)/.dev ## the fast tests, a process of one thread a core; ARGS="-k decoder" passes options to pytest, COV=1 measures coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder $(COVERAGE) $(ARGS)

test-all: $(VENV)/.dev ## every test, the slow ones too
	$(BIN)/python -m pytest $(COVERAGE) $(ARGS)

test-cluster: $(VENV)/.dev ## sweeps, preemption and two nodes on a SLURM of this machine (Debian's slurm-wlm and munge, as root)
	$(BIN)/python -m pytest -rs tests/cluster $(ARGS)

lint: $(VENV)/.dev ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure against peers, both sides in one run; ARGS=metric: one of them; ARGS=check: has a ratio fallen?
	$(BIN)/python -m benchmarks $(ARGS)

wheel: $(VENV)/.dev ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

lock: $(VENV)/.dev ## write requirements.lock, the hashes of what constraints.txt pins; fetches all of it (some GB)
	$(BIN)/python -m tests.made.lock

clean: ## remove the environment, builds and caches; runs/ stays
	rm -rf $(VENV) build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
