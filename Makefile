# Everything runs in .venv, which the first target that needs it creates. Only Python 3.11, git, gcc and make are taken
# for granted. Use another interpreter with: make demo PYTHON=python3.12

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo figures test fast gpu lowest lint types clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## Decode, certify, time and draw the bundled demo: no network, account or GPU needed
	$(BIN)/python -m calm_bench

figures: $(STAMP) ## Draw the reference results again from their records, and the tables of docs/results.md: no model
	$(BIN)/python -m analysis analysis/reference --out figures
	$(BIN)/python -m analysis.results docs/results.md analysis/reference figures

# Coverage slows Python by half, so it watches only the tests of what must be covered.
test: $(STAMP) ## Run every test; those of calibration must cover calm_bench/calibration completely
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests/calibration \
	  --cov=calm_bench/calibration --cov-fail-under=100
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/calibration

fast: $(STAMP) ## Run the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

gpu: $(STAMP) ## Run the tests that need an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu

paper-sized: $(STAMP) ## Make up a record of CNN/DM's size (63 million tokens) and measure time and memory of each step
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.records.paper_sized

lowest: ## Run the fast tests with every dependency at its lower bound, in .venv-lowest (about 3 GB)
	PYTHON=$(PYTHON) .ci/lowest

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Check types
	$(BIN)/mypy

clean: ## Remove .venv and every cache; runs/ and figures/ stay
	rm -rf .venv .venv-lowest build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Done once, and again when the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into .venv (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@
