# `make` lists the targets. Each sets up what it needs in .venv, from uv.lock.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
SETUP := $(PYTHON) envs/setup.py
SNAKEMAKE := $(BIN)/python -m snakemake --cores $(CORES)
MLPAPER := $(BIN)/python -m mlpaper
UV := UV_SYSTEM_CERTS=true $(BIN)/python -m uv
BENCH = $(if $(ISA),--isa $(ISA)) $(if $(MIRROR),--mirror "$(MIRROR)")
EXPORT := $(UV) export --quiet --frozen --no-annotate --no-header

.PHONY: help setup demo paper columns arxiv report plan estimate verify docs gpu twin test test-gpu test-cluster bench bench-gpu lint format types lock clean
.NOTPARALLEL:  # one set-up at a time

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## only the environment, .venv
	@$(SETUP)

demo:  ## the whole pipeline within minutes, on scikit-learn's digits; needs no download of data
	@$(SETUP)
	$(SNAKEMAKE) --config scale=demo

paper:  ## the full paper on the real data, with the runs by PyTorch
	@$(SETUP) twin
	$(SNAKEMAKE)

columns:  ## the paper as PDF in two columns; needs LaTeX
	@$(SETUP) twin
	$(SNAKEMAKE) results/paper-two-columns.pdf

arxiv:  ## the paper's LaTeX source with its figures, as one archive
	@$(SETUP) twin
	$(SNAKEMAKE) results/paper-arxiv.tar.gz

report:  ## every figure and table in Snakemake's report, with the rules and runtimes behind them
	@$(SETUP) twin
	$(SNAKEMAKE)
	$(SNAKEMAKE) --report results/report.zip

plan:  ## what `make paper` would do, and how long it would take
	@$(SETUP)
	$(BIN)/python -m snakemake --dry-run --quiet reason --config twin=always
	$(MLPAPER) estimate --cores $(CORES) --config twin=always

estimate:  ## how long what is left of the paper takes on this machine
	@$(SETUP)
	$(MLPAPER) estimate --cores $(CORES)

verify:  ## train a sample of runs and compare them with those recorded in tests/reference
	@$(SETUP)
	$(MLPAPER) verify

docs:  ## the documentation site, docs/_build/html/index.html
	@$(SETUP) docs
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

gpu:  ## install CuPy for CUDA 12 (any driver from 525 on); device: auto then trains on an NVIDIA device
	@$(SETUP) gpu

twin:  ## install PyTorch, without which its runs are left out
	@$(SETUP) twin

test: lint types  ## the whole test suite, with coverage; tests by PyTorch are skipped where it cannot be installed
	@$(SETUP) dev twin slurm cluster
	$(BIN)/python -m pytest --cov --cov-report=term --numprocesses=$(CORES) --dist=worksteal

test-gpu:  ## the tests that need an NVIDIA device
	@$(SETUP) dev gpu
	$(BIN)/python -m pytest -m gpu

test-cluster:  ## what goes wrong on clusters, on a real Slurm of two nodes; ten minutes, as root, MLPAPER_CLUSTER_INSTALL=1 installs it
	@$(SETUP) dev slurm cluster
	$(BIN)/python -m pytest -m cluster

bench:  ## training steps per second, and those of scikit-learn, PyTorch, JAX (where installed); costs of a job; ISA=avx2, MIRROR=...
	@$(SETUP) dev twin
	$(BIN)/python benchmarks/steps.py $(BENCH) --write
	$(BIN)/python benchmarks/jobs.py $(BENCH) --write

bench-gpu:  ## training steps per second on a GPU, beside PyTorch and (where installed) JAX
	@$(SETUP) dev twin gpu
	$(BIN)/python benchmarks/steps.py --device gpu $(if $(MIRROR),--mirror "$(MIRROR)") --write
	$(BIN)/python benchmarks/gpu.py --write

lint:  ## style of the code
	@$(SETUP) dev
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

format:  ## format the code
	@$(SETUP) dev
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

types:  ## types of the code
	@$(SETUP) dev
	$(BIN)/python -m mypy

lock:  ## resolve the requirements again: uv.lock, and what is exported from it
	@$(SETUP)
	$(UV) lock --upgrade
	$(EXPORT) --no-hashes --no-emit-project -o envs/requirements.txt
	$(EXPORT) --only-group uv -o envs/uv.txt

clean:  ## remove everything that was made, downloads included
	rm -rf results data docs/_build .snakemake
