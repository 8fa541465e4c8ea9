# Every target sets itself up: Python and pip are all that a fresh machine needs.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?= test,lint

.PHONY: docs demo test test-all test-slow fuzz check-lowest check-newest lint notebooks margins bench-analyze bench-pretrain calibrate clean

.venv/installed: WANTED = .[$(EXTRAS)]
.venv/package: WANTED = .
.venv/installed .venv/package: pyproject.toml constraints.txt
	@echo "installing into .venv: one or two minutes"
	@begun=$$(date +%s) && $(PYTHON) -m venv .venv && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$(WANTED)" && \
	echo "installed in $$(($$(date +%s) - begun)) s"
	@touch $@

# The package alone, without what tests and linters need, unless these are installed.
demo: $(firstword $(wildcard .venv/installed) .venv/package)
	$(BIN)/geomprobe demo

# Two workers with one thread each; a file's tests stay together, so that what they share is made once, and files are
# taken in the order of tests/conftest.py: none that takes long is left to the end.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Every behaviour once, every kind of run end to end.
test: .venv/installed
	$(PYTEST) -m "not slow and not thorough"

# The same with what is marked thorough: fresh draws of every interval, all sizes and combinations.
test-all: .venv/installed
	$(PYTEST) -m "not slow"

# What takes minutes each, and nothing else.
test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow --timeout 7200

# An hour of damaged files and odd options, with fresh seeds: FUZZ="--minutes 5" for less.
fuzz: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/run.py $(FUZZ)

# Every command once, in a new environment: build/lowest has each dependency at the lower bound that pyproject.toml
# declares, build/newest at its newest release. Both download torch; PYTHON=python3.13 takes another Python.
check-lowest: CONSTRAINTS = -c build/lower-bounds.txt
check-lowest check-newest: check-%:
	$(PYTHON) -m venv --clear build/$*
	$(PYTHON) tests/environments/lower_bounds.py > build/lower-bounds.txt
	build/$*/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) ".[sentence-transformers,adapters]"
	build/$*/bin/python tests/environments/check.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# How far seeds move each number: docs/reference/margins.md and its table, from the kept replications.
margins: .venv/installed
	$(BIN)/python docs/write_margins.py

# The pages of docs/ as a site: build/site/index.html. A dead link or anchor ends it.
docs: build/docs/installed
	NO_MKDOCS_2_WARNING=1 JUPYTER_PLATFORM_DIRS=1 build/docs/bin/mkdocs build --strict
	@echo "build/site/index.html"

build/docs/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/docs
	build/docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $$(build/docs/bin/python \
	  -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
	@touch $@

# The notebooks of docs/notebooks with fresh outputs.
notebooks: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python docs/notebooks/execute.py

# Figures worth quoting need an otherwise idle machine.
bench-analyze: .venv/installed
	$(BIN)/python tests/benchmarks/bench_analyze.py
	$(BIN)/python tests/benchmarks/bench_commands.py

bench-pretrain: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python tests/benchmarks/bench_pretrain.py

# Hours: every cloud, N and D of docs/explanation/calibration.md, 1,000 draws each, and real embeddings where their texts
# and encoders are present. Counts are kept: an interrupted run goes on.
calibrate: .venv/installed
	$(BIN)/python -m tests.calibration.simulate --draws 1000
	$(BIN)/python -m tests.calibration.real --draws 300

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache
