# make demo and make test do all set-up themselves, in one .venv that is made anew whenever
# pyproject.toml or constraints.txt change. Needs Python 3.11 or later and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
JOBS ?= 2
VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.complete

.PHONY: demo test test-full test-vllm check format

demo: $(STAMP)
	@$(BIN)/maple run studies/demo.toml --out out/demo

# One thread for each of the processes that share the cores; compiled once, not by each process.
test test-full: export OMP_NUM_THREADS := 1
test test-full: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-full: $(STAMP)
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not vllm"

# A real server, for the server engine: docs/guides/server.md. Not part of the other tests.
test-vllm: $(STAMP) $(VLLM_STAMP)
	MAPLE_VLLM_PYTHON=$(VLLM)/bin/python $(BIN)/pytest -m vllm tests/vllm_server

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first: asked for by name and version, pip takes the build at hand for this machine.
$(STAMP): pyproject.toml constraints.txt
	@start=$$(date +%s) && \
	rm -rf .venv && \
	$(PYTHON) -m venv .venv && \
	$(BIN)/pip install --quiet --constraint constraints.txt torch && \
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,dev]' && \
	touch $(STAMP) && \
	echo "installation: $$(( $$(date +%s) - start )) s"

# vLLM wants other versions of what we use, so it has an environment of its own.
$(VLLM_STAMP): constraints-vllm.txt
	@start=$$(date +%s) && \
	rm -rf $(VLLM) && \
	$(PYTHON) -m venv $(VLLM) && \
	$(VLLM)/bin/pip install --quiet torch==2.13.0 && \
	$(VLLM)/bin/pip install --quiet --no-deps --requirement constraints-vllm.txt && \
	touch $(VLLM_STAMP) && \
	echo "installation of vLLM: $$(( $$(date +%s) - start )) s"
