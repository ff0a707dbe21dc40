# Every target sets up what it needs in .venv, from the locked and hashed requirements.
PYTHON ?= python3
TORCH ?= torch==2.13.0
CORES ?= $(shell nproc)
VENV := .venv
BIN := $(VENV)/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)

.PHONY: demo paper columns arxiv report plan estimate verify gpu twin test test-gpu bench bench-gpu lint format types lock clean
.NOTPARALLEL:  # one pip at a time

demo: $(VENV)/runtime  ## the whole pipeline within minutes, on scikit-learn's digits
	$(SNAKEMAKE) --config scale=demo

paper: $(VENV)/twin  ## the full paper, with the runs by PyTorch
	$(SNAKEMAKE)

columns: $(VENV)/twin  ## the paper as PDF in two columns; needs LaTeX
	$(SNAKEMAKE) results/paper-two-columns.pdf

arxiv: $(VENV)/twin  ## the paper's LaTeX source with its figures, as one archive
	$(SNAKEMAKE) results/paper-arxiv.tar.gz

report: $(VENV)/twin  ## every figure and table in Snakemake's report, with the rules and runtimes behind them
	$(SNAKEMAKE)
	$(SNAKEMAKE) --report results/report.zip

plan: $(VENV)/runtime  ## what `make paper` would do
	$(BIN)/snakemake --dry-run --quiet reason --config twin=always
	$(BIN)/mlpaper estimate --cores $(CORES) --config twin=always

estimate: $(VENV)/runtime  ## how long what is left of it takes on this machine
	$(BIN)/mlpaper estimate --cores $(CORES)

verify: $(VENV)/runtime  ## train a sample of runs and compare them with those recorded in tests/reference
	$(BIN)/mlpaper verify

gpu: $(VENV)/gpu  ## CuPy, with which device: auto trains on an NVIDIA device

twin: $(VENV)/twin  ## PyTorch, without which its runs are left out

test: $(VENV)/dev $(VENV)/twin lint types  ## the whole test suite, with coverage
	$(BIN)/python -m pytest --cov --cov-report=term --numprocesses=$(CORES) --dist=worksteal

bench: $(VENV)/dev $(VENV)/twin  ## training steps per second, beside scikit-learn, PyTorch and (where installed) JAX; costs of a job
	$(BIN)/python benchmarks/steps.py --write
	$(BIN)/python benchmarks/jobs.py --write

test-gpu: $(VENV)/dev $(VENV)/gpu  ## the tests that need an NVIDIA device
	$(BIN)/python -m pytest -m gpu

bench-gpu: $(VENV)/dev $(VENV)/twin $(VENV)/gpu  ## training steps per second on a GPU, beside PyTorch and (where installed) JAX
	$(BIN)/python benchmarks/steps.py --device gpu --write
	$(BIN)/python benchmarks/gpu.py --write

lint: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/dev
	$(BIN)/mypy

lock: $(VENV)/dev  ## resolve the requirements again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command "make lock" --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --custom-compile-command "make lock" --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

clean:  ## remove everything that was made, downloads included
	rm -rf results data .snakemake

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv failed; on Debian: apt install python3-venv"; false; }

$(VENV)/runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked requirements into $(VENV): about a minute."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# PyTorch, the referee of the tests and of some runs, is in no lock: which build is right depends on the machine (pip's
# settings choose).
$(VENV)/twin: $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@touch $@

# CuPy for CUDA 12, which every driver from 525 on supports; pip install 'mlpaper[gpu13]' is for CUDA 13.
$(VENV)/gpu: $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[gpu]'
	@touch $@

$(VENV)/dev: requirements-dev.lock $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
