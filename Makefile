# make demo and make test do all set-up themselves, in one .venv that is made anew whenever
# pyproject.toml or constraints.txt change. Needs Python 3.11 or later and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
JOBS ?= 2

.PHONY: demo test test-full check format

demo: $(STAMP)
	@$(BIN)/maple run studies/demo.toml --out out/demo

test: $(STAMP)
	$(BIN)/pytest -n $(JOBS)

test-full: $(STAMP)
	$(BIN)/pytest -n $(JOBS) -m ""

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
