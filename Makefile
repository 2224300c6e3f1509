# Two commands on a bare checkout, with only python3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-all lint bench fuzz clean

# One pip call for everything: the registry's torchvision is built against the full torch and does
# not import beside a CPU-only one, so the two must be resolved together.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/covtool demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# A worker keeps the tests of a module together, for what its fixtures made; who is through takes over.
# One thread of torch a worker, also in processes that tests start: threads for every core slow each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses 2 --dist worksteal --durations 25

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m "slow or not slow" --timeout 3600

bench: $(STAMP)
	$(BIN)/covtool bench heads

# Damaged files of every kind, each read in a child process; failures are kept in fuzzing/failures.
# make fuzz KIND=torch-zip CASES=500 SEED=7; the same seed and folder go on where a run was ended.
CASES ?= 10000
SEED ?= 0
JOBS ?= 2
fuzz: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m fuzzing --cases $(CASES) --seed $(SEED) --jobs $(JOBS) \
		--out fuzzing $(if $(KIND),--kind $(KIND))

clean:
	rm -rf $(VENV) build dist *.egg-info fuzzing .mypy_cache
