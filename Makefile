# The two commands: `make run` and `make test`. Both make the environment first if it is not there.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRITON ?= .venv-triton
VLLM ?= .venv-vllm
OPTIMUM ?= .venv-optimum
ROOMS := core model simulation training export serving robot_bridge demo
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: egl help run test test-triton test-vllm test-optimum acceptance learning check fast-test lint types layers clean

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: $(READY) ## train, export, serve and stream on the built-in default; prints where its report is
	$(BIN)/ganglion quickstart

test: $(READY) egl ## every test
	$(BIN)/python -m pytest tests -q -n 2 --dist loadfile --no-loadscope-reorder -m "not acceptance and not learning and not triton and not vllm and not optimum"

acceptance: $(READY) ## run the main job and check every figure it must reach, and that every policy learns (minutes)
	$(BIN)/python -m pytest tests -v -m acceptance

learning: $(READY) ## train robot_code, gui_step and chess_board by their recipes and check what they reach (over an hour)
	$(BIN)/python -m pytest tests/acceptance -v -m learning

test-triton: $(READY) $(TRITON)/.ready ## serve bundles in a real Triton server, made in an environment of its own
	GANGLION_TRITON_VENV=$(abspath $(TRITON)) $(BIN)/python -m pytest tests/triton -v -m triton

test-vllm: $(READY) $(VLLM)/.ready ## serve what export writes with a real vLLM on the CPU, made in an environment of its own
	GANGLION_VLLM_PYTHON=$(abspath $(VLLM)/bin/python) $(BIN)/python -m pytest tests/export/vllm tests/serving/vllm -v -m vllm

test-optimum: $(READY) $(OPTIMUM)/.ready ## hold our graphs of a language model to optimum's, made in an environment of its own
	GANGLION_OPTIMUM_VENV=$(abspath $(OPTIMUM)) $(BIN)/python -m pytest tests/optimum -v -m optimum

check: lint types layers fast-test ## what to run before each commit

fast-test: $(READY) egl ## the tests that need less than a few seconds each
	$(BIN)/python -m pytest tests -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not acceptance and not learning and not triton and not vllm and not optimum"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy $(ROOMS)

layers: $(READY)
	$(BIN)/lint-imports

clean: ## remove the environment and what runs wrote
	rm -rf $(VENV) $(TRITON) $(VLLM) $(OPTIMUM) runs dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Tests render offscreen.
egl:
	@ldconfig -p | grep -q libEGL.so.1 || (apt-get update -qq && apt-get install -y -qq libegl1 libgl1-mesa-dri)

# torch first and exactly pinned: any later requirement is then satisfied by it, on CPU machines by the CPU build.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(TRITON)/.ready: $(READY) serving/ganglion/serving/triton/install.py
	$(BIN)/python -m ganglion.serving.triton.install $(TRITON)

$(VLLM)/.ready: tests/export/vllm/environment.sh tests/export/vllm/requirements.txt
	PYTHON=$(PYTHON) $< $(VLLM)
	@touch $@

$(OPTIMUM)/.ready: tests/optimum/environment.sh
	PYTHON=$(PYTHON) $< $(OPTIMUM)
	@touch $@
