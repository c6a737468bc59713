# Everything a fresh machine with Python >= 3.11 and make needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests run side by side in so many processes: two more than cores, as many tests wait for other processes.
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 2)))
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.tools-installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types unit test-slow test-cluster test-downstream docs bench bench-quick soak fuzz audit clean

$(BIN)/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'mrcz-dask needs Python 3.11 or newer, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	$(PIP) -e .
	touch $@

# Python compiles what is imported, which is a fraction of what pip would compile.
$(TOOLS): pyproject.toml requirements-dev.txt | $(BIN)/python
	$(PIP) --no-compile -e . -r requirements-dev.txt
	touch $(STAMP) $@

# The session and what came out stay in ./demo; a second run keeps what is there.
demo: $(STAMP)
	. $(BIN)/activate && sh workflows/one_machine.sh demo

# mypy needs one core, and beside the tests that is no time.
test: lint
	$(MAKE) --jobs=2 types unit

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TOOLS)
	$(BIN)/mypy

# Each test that starts a process would compile the package anew where the machine asks Python to write no bytecode.
unit: export PYTHONDONTWRITEBYTECODE =
unit: $(TOOLS)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --durations=25 -m "not slow and not cluster and not downstream"

test-slow: $(TOOLS)
	$(BIN)/python -m pytest -q -m slow

test-cluster: $(TOOLS)
	$(BIN)/python -m pytest -q -m cluster

test-downstream: $(TOOLS)
	$(BIN)/python -m pytest -q -m downstream

# The documentation as a site in build/site; a broken link or any other warning ends it.
docs: $(TOOLS)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --clean --config-file docs/site/mkdocs.yml

bench: $(TOOLS)
	$(BIN)/python -m benchmarks --json build/benchmarks.json

bench-quick: $(TOOLS)
	$(BIN)/python -m benchmarks --quick

# Hundreds of random faults: workers, commands and everything killed, folders away, outputs damaged, signals.
soak: $(TOOLS)
	$(BIN)/python -m tests.faults.soak
	$(BIN)/python -m tests.faults.signals

# Damaged and hostile bytes for every reader, for minutes: see tests/fuzz. With atheris changes follow the code
# that they reach; it is not for every system: .venv/bin/pip install -r requirements-fuzz.txt
FUZZ_SECONDS ?= 20
fuzz: $(TOOLS)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# Known vulnerabilities and licenses of all that is installed with every extra. It needs pypi.org itself: a mirror has
# no advisories, and pip-audit calls packages without any sound unless it is strict.
audit: $(TOOLS)
	$(PIP) "pip-audit>=2.7,<3"
	$(BIN)/python docs/licenses.py
	mkdir -p build
	$(BIN)/python -m pip freeze --exclude-editable > build/installed.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r build/installed.txt

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
