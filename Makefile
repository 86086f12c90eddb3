# Everything a newcomer needs: `make demo`, `make test`. Nothing is installed outside .venv.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZ_MINUTES ?= 30
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"
# The first interpreter that runs and is one of 3.11-3.13; override with `make PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null && echo $$p && break; done)

.PHONY: help setup demo test test-more test-slow nightly test-gpu gpu-reference references check lint docs vendor format lock clean

help:            ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## install this package with its GPU and test dependencies, all locked, into .venv

$(STAMP): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found: install one (with its venv and headers), or run make PYTHON=/path/to/python3.12" >&2; exit 4; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	@# setuptools warns of what an editable installation is; that is what we want here
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@if nvidia-smi -L >/dev/null 2>&1; then \
	  echo "NVIDIA driver found: installing TensorRT, the data-centre library"; \
	  $(BIN)/python -m pip install --quiet 'tensorrt>=10.12,<12' || echo "TensorRT could not be installed; engines will be made by TensorRT-RTX (see: prune-deploy doctor)" >&2; \
	fi
	@touch $@

demo: setup      ## prune ViT-Base by half, export it, measure and trace it beside the dense model, and write an HTML report
	$(BIN)/prune-deploy export --model vit_base_patch16_224 --ratio 0.5 --precision fp32
	run=profiles/demo-$$(date +%Y%m%d-%H%M%S) && \
	$(BIN)/prune-deploy bench engines/vit_base_patch16_224-l2-r0.50 --backend eager,compile,ort --rigor quick --trace --out $$run && \
	$(BIN)/prune-deploy report $$run

test: lint       ## static checks, then tests of documents, units and integration, and a minute of fuzzing
	$(BIN)/python -m pytest --durations=30 -n 2 --dist loadfile -m "not alone and not release" tests/docs tests/unit tests/integration tests/fuzz
	$(BIN)/python -m pytest --durations=30 -m "alone and not release" tests/integration

test-more: setup ## slow tests that gate a release: families, large models, published rows, accuracies, faults, kills; half an hour
	$(BIN)/python -m pytest --durations=30 -n 2 --dist loadfile -m "release and not alone" tests/integration tests/slow
	$(BIN)/python -m pytest --durations=30 -m "release and alone" tests/integration

test-slow: setup ## all slow tests: those of test-more, and measuring at length on a quiet machine
	$(BIN)/python -m pytest --durations=30 tests/slow

nightly: test-slow  ## the slow tests, half an hour of fuzzing, and every family from name to engine into docs/results/compatibility.md
	FUZZ_MINUTES=$(FUZZ_MINUTES) $(BIN)/python -m pytest tests/fuzz
	$(BIN)/prune-deploy compatibility --markdown docs/results/compatibility.md

test-gpu: setup  ## needs an NVIDIA GPU; fails, rather than skips, without one
	$(BIN)/python -m pytest tests/gpu

gpu-reference: setup  ## needs an NVIDIA GPU: its tests and the reference runs, resumable, packed; also benchmarks/gpu_reference.py
	$(BIN)/python benchmarks/gpu_reference.py

references: setup ## train the reference networks on Fashion-MNIST into references/, a quarter of an hour each on two cores, cached
	$(BIN)/python benchmarks/train_reference.py

check: lint      ## ruff, mypy --strict, import layers, help and documents
	$(BIN)/python -m pytest -q -n 2 tests/docs

lint: setup      ## ruff, mypy --strict, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup      ## write docs/reference/cli.md, the documents' tables and the picture of the report
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_tables.py
	$(BIN)/python docs/generate_picture.py

vendor: setup    ## fetch plotly.js for the HTML report into the package, checked by hash (needs npm)
	$(BIN)/python docs/vendor_plotly.py

format: setup    ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:            ## resolve pyproject.toml again into requirements.lock (run time, GPU) and requirements-dev.lock (needs uv)
	$(LOCK) --extra gpu pyproject.toml -o requirements.lock
	$(LOCK) --extra gpu --extra dev --constraint requirements.lock pyproject.toml -o requirements-dev.lock

clean:           ## remove .venv and caches; bundles and runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
